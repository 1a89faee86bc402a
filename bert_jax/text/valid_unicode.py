"""Text that is no valid Unicode, as JSON may spell it, made valid."""


def valid_unicode(text: str) -> tuple[str, int]:
    """Replace lone surrogates by U+FFFD; return the text and how many there were.

    Two that make a pair become the character they stand for.
    """
    if text.isascii():
        return text, 0
    try:
        text.encode()
    except UnicodeEncodeError:
        valid = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return valid, valid.count("\ufffd") - text.count("\ufffd")
    return text, 0
