"""`python -m hf_handdiff.data.synthetic`."""

from hf_handdiff.data.synthetic.main import main

if __name__ == "__main__":
    raise SystemExit(main())
