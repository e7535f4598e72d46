# The same targets as make.py, for those who are used to make.
.PHONY: demo test lint check docs env
demo test lint check docs env:
	python3 make.py $@
