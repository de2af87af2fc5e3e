"""What others show of a link to this app: a title, a sentence, a picture."""

from __future__ import annotations

import functools
import html
import io
import re
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request

from vjepa_demo.ui import examples
from vjepa_demo.ui.link import NAMES
from vjepa_demo.ui.opening import opening

SIZE = (1200, 630)  # what those who show links ask for
NAME = "card.jpg"
TITLE = "V-JEPA 2 Explorer"
SENTENCE = "Point at any patch of a video and see what V-JEPA 2, Meta's self-supervised video encoder, finds similar."
# Gradio's own, which name Gradio and its address.
TAGS = re.compile(rb'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>')
DARK = (20, 22, 28)


def with_card(page: bytes, request: Request) -> bytes:
    """The page's HTML with our tags in the place of Gradio's. Their addresses are absolute, as their readers want."""
    from gradio.route_utils import get_root_url

    root = get_root_url(request, "/", request.scope.get("root_path") or None)
    asked = {name: values[0] for name, values in parse_qs(request.url.query).items() if name in NAMES}
    known = {path.stem for path in examples.files()}
    title = f"{asked['clip']}: {TITLE}" if asked.get("clip") in known else TITLE
    query = f"?{urlencode(asked)}" if asked else ""
    told = {"title": title, "description": SENTENCE, "image": f"{root}/{NAME}"}
    tags = {**{f"og:{name}": text for name, text in told.items()}, "og:url": f"{root}/{query}", "og:type": "website"}
    tags |= {"og:image:width": str(SIZE[0]), "og:image:height": str(SIZE[1])}
    lines = [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in tags.items()]
    lines += [f'<meta name="twitter:{name}" content="{html.escape(text)}" />' for name, text in told.items()]
    lines += ['<meta name="twitter:card" content="summary_large_image" />']
    lines += [f'<meta name="description" content="{html.escape(SENTENCE)}" />']
    lines += ['<link rel="icon" href="favicon.ico" />']
    return TAGS.sub(b"", page).replace(b"</head>", "\n".join([*lines, "</head>"]).encode(), 1)


@functools.lru_cache(maxsize=1)
def picture() -> bytes:
    """The first example under the heat of its first patch, as a JPEG; its poster where it could not be embedded."""
    from PIL import Image, ImageOps

    example = opening().example
    if isinstance(example, str):
        shown = examples.poster(examples.files()[0])
    else:
        from vjepa_demo.views.heatmap import heatmap_frame
        from vjepa_demo.views.similarity import first_position, similarity

        embedding, clip = example.embedding, example.clip
        at = first_position(embedding, clip)
        shown = Image.fromarray(heatmap_frame(clip, embedding, similarity(embedding, at), at))
    out = io.BytesIO()
    ImageOps.pad(shown, SIZE, Image.Resampling.BICUBIC, DARK).save(out, "JPEG", quality=88)
    return out.getvalue()
