/** The page at /: the group as this replica sees it, refreshed every two seconds from /v1/status. One string, nothing loaded from elsewhere. */
import { createHash } from 'node:crypto';

const SCRIPT = `
const cell = (row, text, cls) => { const td = row.insertCell(); td.textContent = text; if (cls) td.className = cls; };
const show = (id, text) => { document.getElementById(id).textContent = text; };
const bytes = (n) => n < 1024 ? n + ' B' : n < 1048576 ? (n / 1024).toFixed(1) + ' KiB' : (n / 1048576).toFixed(1) + ' MiB';
async function refresh() {
  try {
    const s = await (await fetch('/v1/status')).json();
    document.body.className = s.healthy ? 'ok' : 'bad';
    show('state', s.healthy ? 'healthy' : s.unhealthyReason);
    show('facts', 'replica ' + s.memberId + ', ' + s.status + ', view ' + s.view + ', epoch ' + s.epoch + ', op ' + s.op + ', commit ' + s.commit + ', executed ' + s.executed + ', ' + s.durability + ' mode, ' + s.sessions + ' sessions');
    show('checkpoint', 'op ' + s.checkpoint.op + ', root ' + s.checkpoint.root + ', ' + s.store.records + ' records');
    const c = s.checkpointCost, mean = c.recent.mean;
    show('cost', 'every ' + s.checkpointInterval.ops + ' operations; ' + (mean ? c.recent.takes + ' in the last ' + Math.round(c.recent.spanMs / 1000) + ' s, in the mean ' + Math.round(mean.records) + ' records, ' + bytes(Math.round(mean.recordBytes + mean.nodeBytes)) + ', ' + mean.busyMs.toFixed(1) + ' ms of the event loop, ' + mean.wallMs.toFixed(0) + ' ms; longest hold ' + mean.longestMs.toFixed(1) + ' ms; being written ' + (100 * c.recent.share).toFixed(1) + ' % of the time' : 'none in the last minutes') + '; log since: ' + bytes(c.logBytesSince));
    const r = s.recovery;
    show('recovery', 'since the boot: ' + bytes(r.bytesReceived) + ' of state in ' + r.transfers + ' transfers and ' + bytes(r.logBytesReceived) + ' of log fetched, against a state of ' + bytes(r.stateBytes) + (r.caughtUpMs === null ? '; not caught up yet' : '; caught up after ' + (r.caughtUpMs / 1000).toFixed(1) + ' s'));
    const table = document.getElementById('members');
    while (table.rows.length > 1) table.deleteRow(1);
    for (const m of s.members) {
      const peer = s.peers.find((p) => p.id === m.id);
      const self = m.id === s.memberId;
      const silent = peer ? peer.silentMs : null;
      const row = table.insertRow();
      cell(row, m.id + (self ? ' (this one)' : ''));
      cell(row, m.id === s.primary ? 'primary' : 'backup');
      cell(row, m.address);
      cell(row, m.httpAddress);
      cell(row, self ? s.op : peer && peer.acked !== null ? peer.acked : '');
      cell(row, self ? '' : silent === null ? 'never' : (silent / 1000).toFixed(1) + ' s ago', self || (silent !== null && silent < 2000) ? 'good' : 'late');
    }
  } catch (error) {
    document.body.className = 'bad';
    show('state', 'no answer from this replica: ' + error.message);
  }
  setTimeout(refresh, 2000);
}
refresh();
`;

const PAGE_STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff }
h1 { font-size: 1.3rem } #state { font-weight: 600 } .ok #state { color: #177245 } .bad #state { color: #b00020 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
.good { color: #177245 } .late { color: #b00020 } dd { margin: 0 0 .6rem; overflow-wrap: anywhere } dt { color: #666 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #16181c } th, td { border-color: #444 } dt { color: #999 } }
`;

function source(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

export const STATUS_PAGE_POLICY = `default-src 'none'; style-src ${source(PAGE_STYLE)}; script-src ${source(SCRIPT)}; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'`;

export const STATUS_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vrfs</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<h1>vrfs: <span id="state">...</span></h1>
<dl>
<dt>This replica</dt><dd id="facts"></dd>
<dt>Newest checkpoint</dt><dd id="checkpoint"></dd>
<dt>Cost of checkpoints</dt><dd id="cost"></dd>
<dt>Recovery</dt><dd id="recovery"></dd>
</dl>
<table id="members"><tr><th>Member</th><th>Role</th><th>Address</th><th>HTTP</th><th>Acknowledged op</th><th>Heard of</th></tr></table>
<p><a href="/v1/status">status</a> &middot; <a href="/v1/health">health</a> &middot; <a href="/metrics">metrics</a> &middot; <a href="/openapi.json">API</a> &middot; <a href="/v1/fs/">root directory</a></p>
<script>${SCRIPT}</script>
</body>
</html>
`;
