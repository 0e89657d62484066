"""Characters for property tests."""

from hypothesis import strategies as st

UNICODE = st.characters(exclude_categories=["Cs"])
"""All characters that UTF-8 can encode; hypothesis takes seconds to list those of a codec, its default."""
