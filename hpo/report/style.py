"""How the page looks: on a phone and a desk, light and dark, and on paper. No font, picture or script is loaded."""

CSS = """
:root{color-scheme:light dark;--paper:#fdfdfc;--card:#f4f5f6;--ink:#1b1e23;--soft:#565d68;--rule:#dcdfe4;
--main:#0b61b5;--whole:#3d7fc4;--pruned:#b4560b;--base:#8a3a9f;--bad:#b3261e;--open:#6b7280;--band:#0b61b533;
--part-1:#2f74bd;--part-2:#d98a3d;--part-3:#c0453d;--part-4:#8a93a0;--part-5:#8a93a0;--part-6:#c9ced6}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--card:#1d2127;--ink:#e9eaec;--soft:#a9b0ba;--rule:#363c45;
--main:#6fb6ff;--whole:#5f9fe0;--pruned:#f2a45c;--base:#d8a0ea;--bad:#ff8a80;--open:#9aa1ac;--band:#6fb6ff38;
--part-1:#5f9fe0;--part-2:#e09a4f;--part-3:#e0665e;--part-4:#77808d;--part-5:#77808d;--part-6:#4a525d}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.page{max-width:60rem;margin:0 auto;padding:1.25rem 1rem 4rem}
a{color:var(--main)}
:focus-visible{outline:3px solid var(--main);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-999px}.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.5rem}
h1{font-size:clamp(1.5rem,5vw,2.1rem);line-height:1.2;margin:.2rem 0;overflow-wrap:anywhere}
h2{font-size:1.3rem;line-height:1.3;margin:0 0 .75rem;padding-top:1.75rem;border-top:1px solid var(--rule)}
h3{font-size:1.02rem;margin:1.5rem 0 .5rem}
section{margin-top:2.25rem}
p{margin:.45rem 0;overflow-wrap:anywhere;max-width:46rem}
.kind,.foot,.standing{color:var(--soft)}
.kind{margin:0;font-size:.9rem}
.foot{font-size:.85rem;margin-top:3rem;border-top:1px solid var(--rule);padding-top:1rem}
.lead{font-size:clamp(1.08rem,3.4vw,1.3rem);line-height:1.45;font-weight:600;margin:.9rem 0}
.confirmed{border-left:4px solid var(--main);background:var(--card);padding:.6rem .9rem;border-radius:0 6px 6px 0;
margin:1rem 0}
.caution{border-left:4px solid var(--pruned);background:var(--card);padding:.6rem .9rem;border-radius:0 6px 6px 0;
margin:1rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem;margin:1.2rem 0}
.tiles div{background:var(--card);border-radius:8px;padding:.7rem .9rem}
.tiles dt{overflow-wrap:anywhere;color:var(--soft);font-size:.82rem}
.tiles dd{margin:.1rem 0 0;font-size:1.3rem;font-weight:650;overflow-wrap:anywhere}
.tiles small{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
nav ol{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;padding:0;margin:1rem 0;list-style:none;font-size:.92rem}
nav.elsewhere{display:flex;gap:1.2rem;font-size:.9rem;margin-bottom:.8rem}
nav a{display:inline-block;padding:.3rem 0}
figure{margin:1rem 0}
figcaption{margin-top:.5rem}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,17.5rem),1fr));gap:1.1rem 1.2rem}
.chart{display:grid;grid-template-columns:3.1rem 1fr;grid-template-rows:auto auto 15rem auto auto;font-size:.78rem;
color:var(--soft);min-width:0;padding-right:.5rem}
.chart-title{grid-column:1/3;grid-row:1;color:var(--ink);font-size:.92rem;font-weight:600;overflow-wrap:anywhere}
.y-name{grid-column:1/3;grid-row:2;padding-bottom:.35rem;overflow-wrap:anywhere}
.y-ticks{grid-column:1;grid-row:3;position:relative}
.y-ticks span{position:absolute;right:.45rem;transform:translateY(50%);white-space:nowrap;line-height:1}
.plane{grid-column:2;grid-row:3;width:100%;height:100%;display:block;overflow:visible;background:var(--card);
border-radius:4px}
.x-ticks{grid-column:2;grid-row:4;position:relative;height:1.35rem}
.x-ticks span{position:absolute;top:.3rem;transform:translateX(-50%);white-space:nowrap;line-height:1}
.x-name{grid-column:2;grid-row:5;text-align:center}
svg path{fill:none;vector-effect:non-scaling-stroke}
.grid{stroke:var(--rule);stroke-width:1}
.point{stroke-width:6.5;stroke-linecap:round;stroke:var(--whole);stroke-opacity:.75}
.many{stroke-width:3.5;stroke-opacity:.45}
.point.pruned{stroke:var(--pruned)}.point.diverged{stroke:var(--bad)}
.point.top{stroke:var(--main);stroke-width:12;stroke-opacity:1}
.line{stroke:var(--main);stroke-width:2.5;stroke-linejoin:round}
.line.second{stroke:var(--base);stroke-dasharray:7 4}
.mark{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:4 4}
.band{fill:var(--band)!important;stroke:none}
.median{stroke:var(--ink);stroke-width:3}
.curve{stroke-width:1.1;stroke-linejoin:round;stroke-opacity:.6}
.curve.complete{stroke:var(--whole)}.curve.pruned{stroke:var(--pruned)}
.curve.open{stroke:var(--open)}.curve.diverged,.curve.failed{stroke:var(--bad)}
.dense .curve{stroke-opacity:.22;stroke-width:.9}
.denser .curve{stroke-opacity:.08}
.curve.best,.dense .curve.best{stroke:var(--main);stroke-width:3.2;stroke-opacity:1}
.curve.baseline,.dense .curve.baseline{stroke:var(--base);stroke-width:3;stroke-opacity:1;stroke-dasharray:7 4}
.curve.dot,.dense .curve.dot{stroke-width:7;stroke-linecap:round;stroke-opacity:.85}
.tip{stroke:var(--pruned);stroke-width:5;stroke-linecap:round;stroke-opacity:.9}
.dense .tip{stroke-width:2.5;stroke-opacity:.4}
.denser .tip{stroke-opacity:.12}
.bar{fill:var(--whole)!important}.bar.untold{fill:var(--open)!important;fill-opacity:.45}
.whisker{stroke:var(--ink);stroke-width:1.6}.chance{stroke:var(--bad);stroke-width:2;stroke-dasharray:3 2}
.rows{display:grid;grid-template-columns:minmax(6.9rem,22%) 1fr;font-size:.84rem;padding-right:.75rem}
.rows .name{padding:.35rem .6rem .35rem 0;overflow-wrap:anywhere;line-height:1.3;align-self:center}
.rows .name small{display:block;color:var(--soft)}
.rows svg{width:100%;height:3.2rem;display:block;background:var(--card);border-bottom:2px solid var(--paper)}
.rows.thin svg{height:2.1rem}
.rows .x-ticks,.rows .x-name{grid-column:2;grid-row:auto;font-size:.78rem;color:var(--soft)}
.stack{display:flex;height:2.6rem;border-radius:6px;overflow:hidden;gap:2px;margin:.4rem 0}
.stack span{min-width:3px}
.part-1{background:var(--part-1);fill:var(--part-1)!important}
.part-2{background:var(--part-2);fill:var(--part-2)!important}
.part-3{background:var(--part-3);fill:var(--part-3)!important}
.part-4{background:var(--part-4);fill:var(--part-4)!important}
.part-5{background:var(--part-5);fill:var(--part-5)!important}
.part-6{background:var(--part-6);fill:var(--part-6)!important}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;padding:0;margin:.5rem 0;font-size:.84rem;
color:var(--soft)}
.legend li{display:flex;align-items:center;gap:.4rem}.legend svg{width:24px;height:12px;flex:none}
.scroll{overflow-x:auto;max-width:100%;margin:.5rem 0}
.tall .scroll{max-height:32rem;overflow:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.82rem;padding-bottom:.3rem}
th,td{padding:.32rem .75rem .32rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
tbody th{font-weight:600}td,tbody th{max-width:26rem;overflow-wrap:break-word}td.n,th.n{text-align:right}
td.n{white-space:nowrap}
code{font-size:.92em;background:var(--card);padding:.1em .3em;border-radius:4px}.caution code{background:var(--paper)}
thead th{color:var(--soft);font-weight:600;white-space:nowrap}
tr.differs td,tr.differs th{font-weight:650}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--main);padding:.35rem 0}
ol.next li{margin:.4rem 0}
@media print{:root{color-scheme:light;--paper:#fff;--card:#f4f5f6;--ink:#000;--soft:#444;--rule:#ccc;--main:#0b61b5;
--whole:#3d7fc4;--pruned:#b4560b;--base:#8a3a9f;--bad:#b3261e;--open:#6b7280;--band:#0b61b533;--part-1:#2f74bd;
--part-2:#d98a3d;--part-3:#c0453d;--part-4:#8a93a0;--part-5:#8a93a0;--part-6:#c9ced6}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
nav,.skip,details:not([open]){display:none}.page{max-width:none;padding:0}
.chart{grid-template-rows:auto auto 11rem auto auto}
figure,.tiles,.rows,tr{break-inside:avoid}h2,h3{break-after:avoid}
.scroll,.tall .scroll{max-height:none;overflow:visible}}
"""
