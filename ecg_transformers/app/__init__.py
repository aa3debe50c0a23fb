"""The demo app: a page that reads, draws and scores a recording. Gradio is imported in `page` only."""
