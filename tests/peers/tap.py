"""What the tests beside this file print: one line a statement, "ok" or "not ok", and an exit status."""
import sys

failures = 0


def expect(what, holds, note=""):
    """A statement that holds or not."""
    global failures
    failures += not holds
    print(f"{'ok' if holds else 'not ok'} - {what}" + (f" ({note})" if note else ""))


def run(tests):
    """Functions whose names are the statements; one that raises does not hold."""
    for test in tests:
        try:
            test()
            expect(test.__name__, True)
        except Exception as error:
            expect(test.__name__, False, repr(error))
    finish()


def finish():
    sys.exit(failures > 0)
