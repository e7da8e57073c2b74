"""How a report looks: one sheet inside the page, for light and dark screens and for paper. Contrast of texts is 4.5 : 1 and more."""

STYLE = """
:root{color-scheme:light dark;--ink:#17222b;--soft:#52606d;--line:#d9e0e6;--paper:#fff;--panel:#f5f7f9;--link:#0b5a75;
--foot:#157d98;--area:#b3430b;--good:#17663a;--goodback:#e2f4e9;--warn:#7a4b00;--warnback:#fdf0d5;--bad:#9b1c1c;--badback:#fde5e5}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#a3b1be;--line:#33404c;--paper:#11181f;--panel:#1a232c;--link:#7cc7e0;
--foot:#4db6d1;--area:#ffab70;--good:#8fdcae;--goodback:#143524;--warn:#f3c76b;--warnback:#3b2c0b;--bad:#ff9c9c;--badback:#431b1b}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header,footer{max-width:60rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.25rem}
h1{font-size:2rem;line-height:1.2;margin:0;overflow-wrap:anywhere;letter-spacing:-.01em}
h2{font-size:1.15rem;margin:2.5rem 0 .75rem;padding-bottom:.35rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.25rem 0 .5rem}
p{margin:.5rem 0;max-width:46rem}
a{color:var(--link)}
a:focus-visible,summary:focus-visible{outline:3px solid var(--foot);outline-offset:2px;border-radius:2px}
code{font:.875em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--panel);border-radius:4px;padding:.1em .35em;
overflow-wrap:anywhere}
.skip{position:absolute;left:-100rem}
.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem}
.over{color:var(--soft);margin:0 0 .25rem;font-size:.9rem}
.lead{font-size:1.05rem}
.tag{display:inline-block;border-radius:999px;padding:.05rem .65rem;font-size:.85rem;font-weight:600;background:var(--panel);
border:1px solid var(--line)}
.good,.fresh{background:var(--goodback);color:var(--good);border-color:transparent}
.warn{background:var(--warnback);color:var(--warn);border-color:transparent}
.bad,.error{background:var(--badback);color:var(--bad);border-color:transparent}
.note{border-radius:8px;padding:.6rem .9rem;margin:1rem 0;max-width:none}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.4rem,1fr));gap:.75rem;margin:1.25rem 0 0;padding:0}
.tiles div{background:var(--panel);border:1px solid var(--line);border-radius:10px;padding:.7rem .9rem}
.tiles dt{color:var(--soft);font-size:.82rem}
.tiles dd{margin:0}
.tiles .big{font-size:1.45rem;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tiles .small{color:var(--soft);font-size:.8rem;line-height:1.35}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.25rem;margin:.5rem 0}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0;overflow-wrap:anywhere}
figure{margin:.5rem 0 0}
figure svg{display:block;width:100%;height:auto;border-radius:10px}
figcaption{color:var(--soft);font-size:.875rem;margin-top:.5rem}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
svg .sea{fill:var(--panel)}
svg .back{fill:var(--paper)}
svg .grid{stroke:var(--line);fill:none}
svg .axis{stroke:var(--soft)}
svg .foot{fill:var(--foot);stroke:var(--foot)}
svg .area{stroke:var(--area);fill:none}
svg .bar,svg .cell{fill:var(--foot)}
svg .range{stroke:var(--soft)}
svg .dot{fill:var(--ink)}
svg .bar:hover{fill:var(--area)}
.key{display:inline-block;width:1.1em;height:.75em;margin:0 .35em 0 0;vertical-align:-.05em;border:1.5px solid var(--foot);
background:color-mix(in srgb,var(--foot) 25%,transparent)}
.key.dashed{border:2px dashed var(--area);background:none;margin-left:1em}
.scroll{overflow-x:auto;margin-top:1rem}
.scroll.narrow{max-width:34rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--soft);font-size:.875rem;padding-bottom:.4rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
thead th{color:var(--soft);font-weight:600;white-space:nowrap}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tbody th{font-weight:600}
details{margin:.75rem 0}
summary{cursor:pointer;color:var(--link)}
footer{color:var(--soft);font-size:.875rem;margin-top:3rem;padding-bottom:3rem}
@media(max-width:32rem){dl.facts{grid-template-columns:1fr;gap:0}dl.facts dd{margin-bottom:.5rem}h1{font-size:1.5rem}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--panel:#fff;--link:#000;--foot:#157d98;--area:#b3430b;--good:#000;
--goodback:#fff;--warn:#000;--warnback:#fff;--bad:#000;--badback:#fff}body{font-size:11pt}main,header,footer{max-width:none;padding:0}
.skip,details.quiet{display:none}.tag,.note{border:1px solid #444}figure,tr,.tiles div{break-inside:avoid}h2{break-after:avoid}
thead{display:table-header-group}}
"""
