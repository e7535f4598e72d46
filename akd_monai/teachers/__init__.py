# SPDX-License-Identifier: Apache-2.0
"""Where a teacher's outputs come from: the network itself, or a cache of what it computed.

A trainer asks :func:`teacher_source` for a :class:`TeacherSource` and never knows which one it has.
"""

from akd_monai.teachers.cache import TeacherCache
from akd_monai.teachers.cached import CachedTeacher
from akd_monai.teachers.online import OnlineTeacher
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.output import TeacherOutput
from akd_monai.teachers.source import TeacherSource, teacher_source

__all__ = [
    "CachedTeacher",
    "OnlineTeacher",
    "TeacherCache",
    "TeacherOptions",
    "TeacherOutput",
    "TeacherSource",
    "teacher_source",
]
