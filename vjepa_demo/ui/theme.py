"""How the page looks: Gradio's own theme with system fonts, and our stylesheet beside this file."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
SYSTEM_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
SYSTEM_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Quiet greys with one accent; no font is fetched from anywhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        font=SYSTEM_SANS,
        font_mono=SYSTEM_MONO,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300"
    )  # Gradio's is too pale to read


def stylesheet() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


def script() -> str:
    return (HERE / "page.js").read_text(encoding="utf-8")
