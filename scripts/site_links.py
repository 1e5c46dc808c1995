"""Lead links that leave docs/ to the repository, for the pages as a site; a hook of mkdocs.

Pages link to code and data as they lie in the tree, which works on GitHub and in an
editor. On the site they lead to the same file in the repository, if it is there.
"""

import logging
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

# Below this name a warning stops a strict build.
logger = logging.getLogger("mkdocs.hooks.site_links")

_OUTSIDE: Final = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Give a page's text with links of this kind replaced."""
    docs = Path(config["docs_dir"])
    here = (docs / page.file.src_uri).parent

    def led(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        path = target.relative_to(docs.parent)
        if not target.exists():
            logger.warning("%s links to %s, which does not exist", page.file.src_uri, path)
        return f"]({config['extra']['source']}{path}{link[2] or ''})"

    return _OUTSIDE.sub(led, markdown)
