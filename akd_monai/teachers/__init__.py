# SPDX-License-Identifier: Apache-2.0
"""Where a teacher's outputs come from: the network itself, or a cache of what it computed.

A trainer asks :func:`teacher_source` for a :class:`TeacherSource` and never knows which one it has. A teacher may also be
several networks (:class:`TeacherEnsemble`) or an average of the student itself (:class:`EmaTeacher`).
"""

from akd_monai.teachers.average import EmaTeacher
from akd_monai.teachers.cache import TeacherCache
from akd_monai.teachers.cached import CachedTeacher
from akd_monai.teachers.combined import CombinedTeacher
from akd_monai.teachers.ensemble import TeacherEnsemble
from akd_monai.teachers.norm import adapt_batch_norm
from akd_monai.teachers.online import OnlineTeacher
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.output import TeacherOutput
from akd_monai.teachers.source import TeacherSource, teacher_source
from akd_monai.teachers.votes import combine_logits

__all__ = [
    "CachedTeacher",
    "CombinedTeacher",
    "EmaTeacher",
    "OnlineTeacher",
    "TeacherCache",
    "TeacherEnsemble",
    "TeacherOptions",
    "TeacherOutput",
    "TeacherSource",
    "adapt_batch_norm",
    "combine_logits",
    "teacher_source",
]
