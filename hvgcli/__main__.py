"""`python -m hvgcli` is `hvg`."""

from hvgcli.cli.main import main

if __name__ == "__main__":
    main()
