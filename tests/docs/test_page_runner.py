# SPDX-License-Identifier: Apache-2.0
"""The tool that runs pages: what it keeps between blocks, what it compares, and what it names when a page is wrong."""

from __future__ import annotations

import sys

import pytest
from page_runner import PageError, prints, read_blocks, run_page

PAGE = """# Title

EPOCHS is small. <!-- a comment -->

```bash
EPOCHS=5
export WHERE="a b"
mkdir -p "$WHERE" && cd "$WHERE"
```

<!-- file: numbers.py -->
```python
VALUE = 3
```

```python
import os
from numbers_of import VALUE
print("Dice", 0.731, os.environ["WHERE"], VALUE)
```

It prints

```text
Dice 0.5 a b ...
```

<!-- not run: needs a GPU -->
```bash
false
```

```console
never
```

```bash
echo "$EPOCHS" in "${PWD##*/}"
```

```text
5 in a b
```
"""


@pytest.fixture
def write(tmp_path):
    def page(text):
        path = tmp_path / "page.md"
        path.write_text(text)
        return path

    (tmp_path / "reader").mkdir()
    return page


def run(page, tmp_path, **more):
    return run_page(page, tmp_path / "reader", **more)


def test_folder_and_variables_stay_between_blocks(write, tmp_path):
    page = write(
        PAGE.replace("file: numbers.py", "file: numbers_of.py").replace(
            "from numbers_of", "import sys; sys.path.insert(0, '.'); from numbers_of"
        )
    )
    printed = run(page, tmp_path)
    assert printed == ["", "", "Dice 0.731 a b 3\n", "", "5 in a b\n"]
    assert [block.language for block in read_blocks(page)] == ["bash", "python", "python", "bash", "bash"]
    assert [block.reason for block in read_blocks(page)] == [None, None, None, "needs a GPU", None]


def test_a_variable_is_shrunk_where_the_page_sets_it(write, tmp_path):
    page = write("```bash\nEPOCHS=5\necho $EPOCHS EPOCHS=5\n```\n")
    assert run(page, tmp_path, variables={"EPOCHS": "1"}) == ["1 EPOCHS=5\n"]
    (tmp_path / "other").mkdir()
    with pytest.raises(PageError, match=r"page.md sets no variable SIZE"):
        run_page(page, tmp_path / "other", variables={"SIZE": "1"})


def test_the_failing_command_is_named_with_its_block_and_line(write, tmp_path):
    page = write("text\n\n```bash\ntrue\n```\n\n```bash\ntrue\n(cd . && ls no-such-file)\necho never\n```\n")
    with pytest.raises(PageError, match=r"page.md, block 2 at line 8 failed: line 2: ls no-such-file") as found:
        run(page, tmp_path)
    assert "never" not in str(found.value)


def test_other_output_is_named(write, tmp_path):
    page = write("```bash\necho 12 cases\n```\n\n```text\n11 cases\n```\n")
    with pytest.raises(PageError, match=r"(?s)block 1 at line 2 printed something else.*---\n12 cases"):
        run(page, tmp_path)


def test_a_block_without_an_end_is_named_and_ended(write, tmp_path):
    page = write("```bash\nsleep 600 & echo $! > pid\nwait\n```\n")
    with pytest.raises(PageError, match="no end after 1 s"):
        run(page, tmp_path, timeout=1)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\n...\nb", "a\nb", True),
        ("a\n...\nb", "a\nx\ny\nb", True),
        ("...\na", "a", True),
        ("...\na\n...", "x\ny\na\nz", True),
        ("a ... c", "a b c", True),
        ("a ... c", "a b\nc", False),
        ("mean 0.5", "mean -0.7312", True),
        ("mean 0.5", "mean nan", False),
        ("5 cases", "6 cases", False),
        ("a.c", "abc", False),
        ("a", "a\nb", False),
        ("a  \n", "a", True),
    ],
)
def test_what_counts_as_the_same_output(expected, printed, same):
    assert prints(expected, printed) is same


@pytest.mark.slow
def test_a_warm_python_is_an_interpreter(write, tmp_path, warm):
    page = write(
        "```bash\n"
        "which python | grep -c '^/.*bin/python$'\n"
        "python -m akd_monai recipes > recipes.txt; head -c 5 recipes.txt; echo\n"
        "python -m akd_monai nonsense || echo code $?\n"
        "python -m monai.bundle run --config_file no.json > log.txt 2>&1 || echo code $?\n"
        "python -c 'import sys; print(sys.executable)'\n"
        "python -m http.server 0 --bind 127.0.0.1 > server.txt 2>&1 &\n"
        "sleep 1; kill -TERM $!; wait $! || echo code $?\n"
        "```\n"
    )
    printed = run(page, tmp_path, path=warm.bin)[0].splitlines()
    assert printed[0] == "1"
    assert printed[2].startswith("akd_monai: unknown verb 'nonsense'.")
    assert printed[3:] == ["code 2", "code 1", sys.executable, "code 143"]
