"""How the page looks: theme and style sheet. Nothing is fetched from elsewhere, fonts included."""

import gradio as gr

_FONT = ("Inter", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

SCENE_COLOR = (24 / 255, 26 / 255, 30 / 255, 1.0)
"""Behind the 3D view: the background of the pictures."""

THEME = gr.themes.Base(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="md",
    font=_FONT,
    font_mono=_MONOSPACE,
).set(
    button_primary_background_fill="#2f6fb2",
    button_primary_background_fill_hover="#3a82cc",
    button_primary_background_fill_dark="#2f6fb2",
    button_primary_text_color="#ffffff",
    slider_color="#4575b4",
    block_label_text_size="*text_xs",
)

CSS = """
.gradio-container { max-width: min(1320px, 100vw) !important; margin: 0 auto !important; overflow-x: clip; }
.html-container { padding: 0 !important; }
.hero h1 { font-size: 1.9rem; line-height: 1.15; margin: .4rem 0 .3rem; letter-spacing: -.02em; font-weight: 700; }
.hero p { margin: 0 0 .2rem; max-width: 62rem; opacity: .8; font-size: 1rem; line-height: 1.45; }
.message { padding: .7rem .9rem; border-radius: .5rem; border-left: 4px solid; font-size: .95rem; line-height: 1.4; }
.message.error { background: #fdeceb; border-color: #d73027; color: #7a1710; }
.message.warning { background: #fff4dd; border-color: #e8a317; color: #6b4a05; }
.message.hint { background: #eaf2fb; border-color: #4575b4; color: #1d3e66; }
.dark .message.error { background: #3a1a19; color: #ffc9c4; }
.dark .message.warning { background: #372b12; color: #ffe2a6; }
.dark .message.hint { background: #18283a; color: #c7dcf5; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 1.8rem; padding: 0; }
.facts div { display: flex; flex-direction: column; }
.facts b { font-size: 1.15rem; line-height: 1.25; }
.facts span { font-size: .75rem; color: var(--body-text-color-subdued); min-height: 1em; }
.scale { display: flex; align-items: center; gap: .6rem; font-size: .75rem; padding: 0;
         color: var(--body-text-color-subdued); }
.scale span { white-space: nowrap; }
.scale i { flex: 0 0 auto; width: min(220px, 24vw); height: 10px; border-radius: 5px; }
table.errors { border: 0 !important; width: 100%; border-collapse: separate; border-spacing: 3px;
               table-layout: fixed; margin: 0; }
table.errors th { font-weight: 500; font-size: .8rem; text-align: center; padding: .1rem; border: 0;
                  color: var(--body-text-color-subdued); background: none; }
table.errors th:first-child { width: 5rem; }
table.errors tbody th { text-align: left; white-space: nowrap; color: var(--body-text-color); }
table.errors tr, table.errors td { border: 0; }
table.errors td { border-radius: .4rem; text-align: center; padding: .3rem .1rem; line-height: 1.1; }
table.errors td b { font-size: 1.05rem; display: block; color: inherit; }
table.errors td small { font-size: .72rem; color: inherit; opacity: .85; }
.dot { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .4rem; }
.note { font-size: .78rem; color: var(--body-text-color-subdued); margin: .3rem 0 0; line-height: 1.35; }
.picture { aspect-ratio: 1; flex-shrink: 0; }
.picture img { border-radius: .4rem; }
#keypoint-picture img { cursor: crosshair; }
#view canvas { outline: none; touch-action: none; }
h3.section-title { margin: .8rem 0 0; font-weight: 600; font-size: 1rem; line-height: 1.5; }
#main { display: grid; grid-template: "photo answer" auto "settings answer" 1fr / minmax(0, 4fr) minmax(0, 7fr);
        align-items: start; }
#main-photo { grid-area: photo; }
#main-answer { grid-area: answer; }
#main-settings { grid-area: settings; }
#details { display: grid; grid-template-columns: minmax(0, 4fr) minmax(0, 7fr); align-items: start; }
#main > *, #details > * { min-width: 0 !important; }
#under-view { align-items: center; }
#under-view > * { flex: 0 1 auto !important; min-width: 0 !important; width: auto !important; }
#ghosts { border: 0; background: none; box-shadow: none; }
#note:not(:has(.message)) { display: none; }
@media (max-width: 860px) {
  #main { grid-template: "photo" auto "answer" auto "settings" auto / minmax(0, 1fr); }
  #details { grid-template-columns: minmax(0, 1fr); }
}
@media (max-width: 640px) {
  .gradio-container > .main { max-width: 100vw !important; padding: 1rem !important; }
  .hero h1 { font-size: 1.45rem; }
  .hero p { font-size: .92rem; }
  .facts { gap: .3rem 1.2rem; }
}
"""
