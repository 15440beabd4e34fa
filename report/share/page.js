// Draws the page from the data in it. All texts of the data are put in as texts, none as markup.
(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const colours = 8;
  const laneHeight = 34;

  // ---- Texts ------------------------------------------------------------------------------------

  const separated = (value) => (typeof value === 'number' ? d3.format(',')(value) : String(value));
  const hex = (value) => (typeof value === 'number' ? '0x' + value.toString(16) : value);
  const seconds = (us) => d3.format(',.6f')(us / 1e6) + ' s';
  const process = (number) => data.processes[number];
  const nameOf = (number) => (process(number) ? `${process(number).name} (pid ${process(number).pid})` : '?');
  const plural = (count, word, words = word + 's') => `${separated(count)} ${count === 1 ? word : words}`;
  const select = (id) => d3.select('#' + id);

  // A printed page may be narrower: then all of it becomes smaller.
  const resize = (svg, width, height) => svg.attr('width', width).attr('height', height).attr('viewBox', [0, 0, width, height]);

  // ---- Colours of writers: those with the most accesses have one of their own --------------------

  const ranked = d3.range(data.processes.length).sort((a, b) => data.processes[b].accesses - data.processes[a].accesses);
  const colourNumber = new Map(ranked.slice(0, colours).sort((a, b) => a - b).map((number, i) => [number, i]));
  const colourOf = (number) => (colourNumber.has(number) ? `var(--w${colourNumber.get(number)})` : 'var(--other)');

  // ---- Tables -----------------------------------------------------------------------------------

  // In place of a table without rows.
  function sayEmpty(table, text) {
    d3.select(table.node().parentNode).append('p').attr('class', 'empty').text(text);
    table.remove();
  }

  // columns: {title, number, wrap}; rows: lists of texts.
  function fillTable(table, columns, rows) {
    table.selectAll('*').remove();
    table.append('thead').append('tr').selectAll('th').data(columns).join('th')
      .attr('scope', 'col').classed('number', (c) => c.number).text((c) => c.title);
    const lines = table.append('tbody').selectAll('tr').data(rows).join('tr');
    lines.selectAll('td').data((row) => columns.map((column, i) => ({ column, text: row[i] }))).join('td')
      .classed('number', (cell) => cell.column.number)
      .classed('wrap', (cell) => cell.column.wrap)
      .text((cell) => cell.text);
    return lines;
  }

  const blameColumns = ['', ...data.titles].map((title) => ({ title, number: title === 'PID' || title === 'Len' }));

  function fillAccesses(parent, columns, table) {
    parent.selectAll('*').remove();
    parent.append('p').attr('class', 'title').text(table.title);
    const box = parent.append('div').attr('class', 'scroll').attr('tabindex', 0)
      .attr('role', 'region').attr('aria-label', table.title);
    return fillTable(box.append('table').attr('class', 'blame'), columns, table.rows);
  }

  // A table as shmrec blame prints it.
  function showBlame(parent, table) {
    fillAccesses(parent, blameColumns, table).classed('current', (row) => row[0] === '*');
    if (table.rows.length === 0) parent.append('p').attr('class', 'empty').text('No access to it is in the log.');
    parent.append('ul').attr('class', 'notes').selectAll('li').data(table.notes).join('li').text((note) => note);
  }

  // ---- What happened ----------------------------------------------------------------------------

  function drawStory() {
    document.title = `${data.name}: shmrec report`;
    select('subtitle').text(data.name);
    const failed = data.processes.some((one) => one.failed);
    select('story').selectAll('span').data(data.story.sentences).join('span')
      .classed('first', (_, i) => i === 0).classed('failed', (_, i) => i === 0 && failed)
      .text((sentence) => sentence + ' ');
    select('readings').selectAll('div.reading').data(data.story.readings).join('div').attr('class', 'reading')
      .each(function (reading) { showBlame(d3.select(this), reading); });
    const facts = [['Command', data.run.command], ['Host', data.run.host], ['Started', data.run.started],
      ['Length', seconds(data.run.end)],
      ['Recorded', `${plural(data.run.accesses, 'access', 'accesses')} in the log, ` +
        `${plural(data.run.recordings, 'recording')}, ${plural(data.run.segments, 'segment')}`],
      ['shmrec', data.run.version]].filter((fact) => fact[1]);
    const list = select('run');
    for (const [name, value] of facts) {
      list.append('dt').text(name);
      list.append('dd').text(value);
    }
  }

  // ---- Processes --------------------------------------------------------------------------------

  // In the order of a walk through the tree: [number, depth, is the last of its parent's].
  function treeOrder() {
    const children = d3.group(d3.range(data.processes.length), (i) => data.processes[i].parent);
    const order = [];
    const seen = new Set();
    const visit = (number, lasts) => {
      if (seen.has(number)) return;
      seen.add(number);
      order.push({ number, lasts });
      const own = children.get(number) || [];
      own.forEach((child, i) => visit(child, [...lasts, i === own.length - 1]));
    };
    (children.get(-1) || []).forEach((root) => visit(root, []));
    d3.range(data.processes.length).forEach((number) => visit(number, []));  // in a ring of parents
    return order;
  }

  const branch = (lasts) => lasts.map((last, i) =>
    (i < lasts.length - 1 ? (last ? '   ' : '│  ') : last ? '└─ ' : '├─ ')).join('');

  function drawProcesses() {
    const columns = [{ title: 'Process' }, { title: 'PID', number: true }, { title: 'Recording ID' }, { title: 'Started' },
      { title: 'Start', number: true }, { title: 'End', number: true }, { title: 'Status' },
      { title: 'Accesses', number: true }, { title: 'Note', wrap: true }];
    const order = treeOrder();
    const rows = order.map(({ number }) => {
      const one = process(number);
      return ['', one.pid, one.id, one.how, seconds(one.start), one.end === null ? 'unknown' : seconds(one.end),
        one.status, separated(one.accesses), one.note || ''];
    });
    const lines = fillTable(select('process-tree'), columns, rows);
    lines.each(function (_, i) {
      const { number, lasts } = order[i];
      const cell = d3.select(this).select('td');
      cell.append('span').attr('class', 'tree').attr('aria-hidden', 'true').text(branch(lasts));
      cell.append('span').text(process(number).name).attr('title', process(number).executable);
      d3.select(this.children[6]).classed('bad', process(number).failed);
    });
  }

  // ---- Timeline ---------------------------------------------------------------------------------

  function drawTimeline() {
    const { origin, width, rows } = data.timeline;
    const order = treeOrder().map((entry) => entry.number);
    const lanes = [];
    for (const number of order) {
      const own = rows.filter((row) => row.process === number);
      own.forEach((row, i) => lanes.push({ number, row, head: i === 0 }));
      const events = data.marks.some((mark) => mark.process === number) || process(number).failed;
      if (own.length === 0 && events) lanes.push({ number, row: null, head: true });
    }
    const box = document.getElementById('timeline-chart');
    if (lanes.length === 0) {
      d3.select(box).append('p').attr('class', 'empty').text('No process accessed shared memory.');
      return;
    }
    const last = d3.max(rows, (row) => origin + (row.bins[row.bins.length - 3] + 1) * width) || 0;
    const ends = data.processes.map((one) => one.end).filter((end) => end !== null);
    const whole = [Math.min(0, origin), Math.max(1, last, ...ends, ...data.marks.map((mark) => mark.time))];
    const peak = d3.max(rows, (row) => d3.max(row.bins.filter((_, i) => i % 3 !== 0))) || 1;
    const height = d3.scaleLog().domain([1, Math.max(2, peak)]).range([3, laneHeight / 2 - 2]);
    const margin = { top: 4, right: 40, bottom: 26, left: box.clientWidth < 700 ? 130 : 250 };
    let x = d3.scaleLinear().domain(whole);
    let total = 0;

    const svg = d3.select(box).append('svg').attr('tabindex', 0).attr('role', 'img')
      .attr('aria-label', 'Accesses of each process over time; a table of processes is above');
    const clip = svg.append('clipPath').attr('id', 'timeline-clip').append('rect');
    const groups = svg.append('g').selectAll('g').data(lanes).join('g').attr('class', 'lane')
      .attr('transform', (_, i) => `translate(0,${margin.top + i * laneHeight})`);
    groups.append('rect').attr('class', 'band').attr('height', laneHeight - 3)
      .attr('visibility', (_, i) => (i % 2 ? 'hidden' : null));
    const labels = groups.append('g');
    labels.filter((lane) => lane.head).append('text').attr('class', 'who').attr('x', 4).attr('y', 13)
      .text((lane) => cut(nameOf(lane.number), margin.left)).append('title').text((lane) => nameOf(lane.number));
    labels.filter((lane) => lane.row).append('text').attr('class', 'faint').attr('x', 4).attr('y', 27)
      .text((lane) => cut(lane.row.label, margin.left)).append('title').text((lane) => lane.row.label);
    const plot = groups.append('g').attr('clip-path', 'url(#timeline-clip)');
    plot.append('line').attr('class', 'life').attr('y1', laneHeight / 2).attr('y2', laneHeight / 2);
    plot.append('path').attr('class', 'reads');
    plot.append('path').attr('class', 'writes');
    const glyphs = plot.append('g');
    const axis = svg.append('g').attr('class', 'axis').attr('transform', `translate(0,${margin.top + lanes.length * laneHeight})`);

    function cut(text, room) {
      const most = Math.floor(room / 7);
      return text.length > most ? text.slice(0, most - 1) + '…' : text;
    }

    // Bars of at least two pixels: of those that begin on one pixel the highest.
    function bars(lane, part, sign) {
      if (!lane.row) return '';
      const bins = lane.row.bins;
      const columns = new Map();
      for (let i = 0; i < bins.length; i += 3) {
        const count = bins[i + part];
        const from = x(origin + bins[i] * width), to = x(origin + (bins[i] + 1) * width);
        if (count === 0 || to < margin.left || from > total) continue;
        const left = Math.max(margin.left, Math.floor(from)), right = Math.max(left + 2, Math.min(total, Math.floor(to)));
        const known = columns.get(left);
        if (!known || known.count < count) columns.set(left, { count, right });
      }
      const middle = laneHeight / 2;
      let path = '';
      for (const [left, { count, right }] of columns) {
        path += `M${left},${middle}V${(middle + sign * height(count)).toFixed(1)}H${right}V${middle}Z`;
      }
      return path;
    }

    function eventsOf(number) {
      const one = process(number);
      const found = data.marks.filter((mark) => mark.process === number && mark.kind === 'mark')
        .map((mark) => ({ time: mark.time, glyph: '▼', kind: 'mark', text: mark.text }));
      const signal = data.marks.find((mark) => mark.process === number && mark.kind === 'signal');
      if (one.end !== null)
        found.push({ time: one.end, glyph: one.failed ? '✕' : '●', kind: one.failed ? 'death' : 'exit', text: one.status });
      else if (signal) found.push({ time: signal.time, glyph: '✕', kind: 'death', text: signal.text });
      return found;
    }
    const events = new Map(order.map((number) => [number, eventsOf(number)]));

    function draw() {
      total = Math.max(margin.left + 220, box.clientWidth);
      resize(svg, total, margin.top + lanes.length * laneHeight + margin.bottom);
      clip.attr('x', margin.left).attr('y', -4).attr('width', total - margin.left).attr('height', laneHeight + 8);
      x.range([margin.left, total - margin.right]);
      groups.select('.band').attr('width', total);
      plot.select('.life')
        .attr('x1', (lane) => x(process(lane.number).start))
        .attr('x2', (lane) => x(process(lane.number).end === null ? whole[1] : process(lane.number).end));
      plot.select('.reads').attr('d', (lane) => bars(lane, 1, -1));
      plot.select('.writes').attr('d', (lane) => bars(lane, 2, 1));
      glyphs.selectAll('text').data((lane) => (lane.head ? events.get(lane.number) : [])).join('text')
        .attr('class', (event) => 'glyph ' + event.kind).attr('text-anchor', 'middle').attr('y', 12)
        .style('fill', (event) => ({ mark: 'var(--w2)', death: 'var(--bad)', exit: 'var(--faint)' })[event.kind])
        .attr('x', (event) => x(event.time)).text((event) => event.glyph)
        .append('title').text((event) => `${event.text} at ${seconds(event.time)}`);
      const [from, to] = x.domain();
      const ticks = Math.max(2, Math.floor((total - margin.left) / 120));
      const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10((to - from) / 1e6 / ticks)) + 1));
      axis.call(d3.axisBottom(x).ticks(ticks).tickFormat((us) => d3.format(`,.${digits}f`)(us / 1e6) + ' s'));
      select('timeline-range').text(`${seconds(from)} to ${seconds(to)}`);
    }

    const least = Math.min(Math.max(width, 1), whole[1] - whole[0]);  // a bin, at the plot's width
    function show(from, to) {
      const span = Math.min(Math.max(to - from, least), whole[1] - whole[0]);
      const begin = Math.min(Math.max(from, whole[0]), whole[1] - span);
      x.domain([begin, begin + span]);
      draw();
    }
    function zoom(factor, at) {
      const [from, to] = x.domain();
      const middle = at === undefined ? (from + to) / 2 : at;
      show(middle - (middle - from) / factor, middle + (to - middle) / factor);
    }
    function move(part) {
      const [from, to] = x.domain();
      show(from + (to - from) * part, to + (to - from) * part);
    }
    const keys = { '+': () => zoom(2), '=': () => zoom(2), '-': () => zoom(0.5), ArrowLeft: () => move(-0.2),
      ArrowRight: () => move(0.2), 0: () => show(...whole), Home: () => move(-1e9), End: () => move(1e9) };
    svg.on('keydown', (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    svg.on('wheel', (event) => {
      if (!event.ctrlKey && !event.metaKey) return;  // else the page scrolls
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.4 : 1 / 1.4, x.invert(d3.pointer(event)[0]));
    });
    svg.on('dblclick', (event) => zoom(3, x.invert(d3.pointer(event)[0])));
    svg.call(d3.drag().on('drag', (event) => {
      const [from, to] = x.domain();
      const by = (event.dx / (total - margin.left - margin.right)) * (to - from);
      show(from - by, to - by);
    }));
    svg.on('pointermove', (event) => {
      const [left, top] = d3.pointer(event);
      const lane = lanes[Math.floor((top - margin.top) / laneHeight)];
      if (!lane || left < margin.left) return;
      const time = x.invert(left);
      const bin = Math.floor((time - origin) / width);
      let text = `${seconds(time)}: ${nameOf(lane.number)}`;
      if (lane.row) {
        const at = d3.range(0, lane.row.bins.length, 3).find((i) => lane.row.bins[i] === bin);
        const counts = at === undefined ? [0, 0] : lane.row.bins.slice(at + 1, at + 3);
        text += `, ${lane.row.label}: ${plural(counts[0], 'read')}, ${plural(counts[1], 'write')} in ${seconds(width)}`;
      }
      select('timeline-readout').text(text);
    });
    select('zoom-in').on('click', () => zoom(2));
    select('zoom-out').on('click', () => zoom(0.5));
    select('zoom-all').on('click', () => show(...whole));
    select('zoom-end').on('click', () => show(whole[1] - (whole[1] - whole[0]) / 16, whole[1]));
    new ResizeObserver(draw).observe(box);
    draw();
  }

  // ---- Who shares what --------------------------------------------------------------------------

  function drawSharing() {
    const table = select('sharing-table');
    const users = [...new Set(data.sharing.flatMap((segment) => (segment.users || []).map((user) => user[0])))].sort(d3.ascending);
    if (users.length === 0) return sayEmpty(table, 'No process accessed shared memory.');
    // Segments have the longer names: the side with more entries goes down.
    const head = table.append('thead').append('tr');
    head.append('th').attr('scope', 'col').text('Segment');
    head.selectAll('th.user').data(users).join('th').attr('class', 'user').attr('scope', 'col').each(function (number) {
      d3.select(this).append('span').attr('class', 'swatch').style('background', colourOf(number));
      d3.select(this).append('span').text(nameOf(number));
    });
    const peak = Math.max(2, d3.max(data.sharing, (segment) => d3.max(segment.users || [], (user) => user[1] + user[2])));
    const strength = d3.scaleLog().domain([1, peak]).range([4, 26]).clamp(true);
    const lines = table.append('tbody').selectAll('tr').data(data.sharing).join('tr');
    lines.append('th').attr('scope', 'row').text((segment) => segment.label)
      .attr('title', (segment) => `${segment.kind || ''} ${segment.bytes === undefined ? '' : separated(segment.bytes) + ' bytes'}`);
    lines.selectAll('td').data((segment) => users.map((number) => ({
      segment, counts: (segment.users || []).find((user) => user[0] === number) }))).join('td')
      .each(function ({ segment, counts }) {
        if (!counts) return;
        const cell = d3.select(this);
        cell.style('background', `color-mix(in srgb, var(--reads) ${strength(counts[1] + counts[2])}%, transparent)`);
        cell.append('div').text(segment.writesOnly && !counts[1] ? 'reads not logged' : plural(counts[1], 'read'));
        cell.append('div').text(plural(counts[2], 'write'));
        if (counts[3]) cell.append('div').attr('class', 'empty').text(`${separated(counts[3])} by the kernel`);
      });
  }

  // ---- Map --------------------------------------------------------------------------------------

  const kinds = ['read', 'write', 'read/write'];

  // A cell's accesses in the columns of a table of blame.
  function tableOfCell(map, cell) {
    const [row, column, reads, writes] = cell;
    const rows = cell[7].map(([who, kind, time, event, place, offset, length, value]) => {
      const [pc, code, line] = data.places[place];
      const one = process(who);
      return ['', one ? one.pid : '?', one ? one.id : '?', `${separated(event)}:${pc}`, kinds[kind], seconds(time),
        length, value, one ? one.name : '?', code, line, `${map.label}+${hex(offset)}`];
    });
    return { title: `${rangeOf(map, row)}, ${timeOf(map, column)}: ${plural(reads, 'read')}, ${plural(writes, 'write')}`, rows };
  }

  const rangeOf = (map, row) => `${map.label}+${hex(row * map.rowBytes)} to +${hex((row + 1) * map.rowBytes)}`;
  const timeOf = (map, column) => `${seconds(map.origin + column * map.columnWidth)} to ${seconds(map.origin + (column + 1) * map.columnWidth)}`;
  const cellColumns = blameColumns.map((column) => (column.title === 'Address' ? { title: 'Clock', number: true } : column));

  function showCell(map, cell) {
    const parent = select('map-accesses');
    if (!cell || cell[7].length === 0) {
      parent.selectAll('*').remove();
      parent.append('p').text(cell
        ? 'The page has no accesses of this cell, as it has too many cells: shmrec timeline lists them.'
        : 'Nobody accessed this cell.');
      return;
    }
    fillAccesses(parent, cellColumns, tableOfCell(map, cell));
    const writers = cell[5].map(nameOf).join(', ') + (cell[6] ? ' and others' : '');
    parent.append('ul').attr('class', 'notes').selectAll('li').data([
      cell[5].length ? `Written here by ${writers}.` : 'Nobody wrote here in this time.',
      'Of each process the newest write and read, three processes at most; the order between lines is that of a coarse clock.',
    ]).join('li').text((note) => note);
  }

  function drawMap(number) {
    const map = data.maps[number];
    const box = document.getElementById('map-chart');
    d3.select(box).selectAll('*').remove();
    select('map-accesses').selectAll('*').remove();
    select('map-readout').text('');
    const usedRows = d3.max(map.cells, (cell) => cell[0]) + 1;
    const first = d3.min(map.cells, (cell) => cell[1]), columns = d3.max(map.cells, (cell) => cell[1]) + 1 - first;
    const found = new Map(map.cells.map((cell) => [`${cell[0]},${cell[1]}`, cell]));
    const margin = { top: 6, right: 40, bottom: 26, left: 90 };
    const rowHeight = Math.max(6, Math.min(22, Math.floor(420 / usedRows)));
    const cursor = { row: 0, column: 0 };
    const svg = d3.select(box).append('svg').attr('tabindex', 0).attr('role', 'application')
      .attr('aria-label', `Map of ${map.label}: arrow keys move, Enter shows the accesses of a cell`);
    const cells = svg.append('g');
    const frame = svg.append('rect').attr('class', 'frame').attr('x', margin.left).attr('y', margin.top);
    const chosen = svg.append('rect').attr('class', 'chosen').attr('visibility', 'hidden');
    const mark = svg.append('rect').attr('class', 'cursor').attr('visibility', 'hidden');
    const hot = svg.append('g');
    const xAxis = svg.append('g'), yAxis = svg.append('g');
    let step = 8;

    const place = (rect, row, column) => rect.attr('visibility', null)
      .attr('x', margin.left + column * step).attr('y', margin.top + row * rowHeight)
      .attr('width', Math.max(2, step)).attr('height', rowHeight);
    const cellAt = (row, column) => found.get(`${row},${column + first}`);

    function describe(row, column) {
      const cell = cellAt(row, column);
      const where = `${rangeOf(map, row)}, ${timeOf(map, column + first)}`;
      if (!cell) return `${where}: no access`;
      const who = cell[4] === null ? 'only read' : `last written by ${nameOf(cell[4])}`;
      return `${where}: ${plural(cell[2], 'read')}, ${plural(cell[3], 'write')}, ${who}`;
    }
    function open(row, column) {
      place(chosen, row, column);
      showCell(map, cellAt(row, column));
    }
    let picked = null;
    function pick(row, column) {
      picked = { row, column };
      open(row, column);
    }

    function draw() {
      const total = Math.max(margin.left + 240, box.clientWidth);
      step = (total - margin.left - margin.right) / columns;
      resize(svg, total, margin.top + usedRows * rowHeight + margin.bottom);
      const gap = step > 5 && rowHeight > 5 ? 1 : 0;
      cells.selectAll('rect').data(map.cells).join('rect').attr('class', 'cell')
        .attr('data-cell', (cell) => `${cell[0]},${cell[1]}`)
        .attr('x', (cell) => margin.left + (cell[1] - first) * step).attr('y', (cell) => margin.top + cell[0] * rowHeight)
        .attr('width', Math.max(1, step - gap)).attr('height', rowHeight - gap)
        .style('fill', (cell) => (cell[4] === null ? 'var(--only-read)' : colourOf(cell[4])));
      const corner = Math.min(5, step - gap, rowHeight - gap);
      cells.selectAll('path').data(map.cells.filter((cell) => cell[5].length > 1)).join('path').attr('class', 'several')
        .attr('pointer-events', 'none')
        .attr('d', (cell) => `M${margin.left + (cell[1] - first + 1) * step - gap},${margin.top + cell[0] * rowHeight}v${corner}l${-corner},${-corner}Z`);
      frame.attr('width', columns * step).attr('height', usedRows * rowHeight);
      const lines = data.hot.map((line) => data.lines[line]).filter((line) => line.segment === map.segment);
      hot.selectAll('path').data(lines).join('path').attr('class', 'hotline')
        .attr('d', (line) => `M${total - margin.right + 4},${margin.top + (line.offset / map.rowBytes + 0.5) * rowHeight}l10,-5v10Z`)
        .on('click', (_, line) => showLine(line)).selectAll('title').data((line) => [line]).join('title')
        .text((line) => `Hot line ${hex(line.offset)}: ${plural(line.reads, 'read')}, ${plural(line.writes, 'write')}`);
      const time = d3.scaleLinear().range([margin.left, margin.left + columns * step])
        .domain([map.origin + first * map.columnWidth, map.origin + (first + columns) * map.columnWidth]);
      const ticks = Math.max(2, Math.floor(total / 140));
      const [from, to] = time.domain();
      const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10((to - from) / 1e6 / ticks)) + 1));
      xAxis.attr('transform', `translate(0,${margin.top + usedRows * rowHeight})`)
        .call(d3.axisBottom(time).ticks(ticks).tickFormat((us) => d3.format(`,.${digits}f`)(us / 1e6) + ' s'));
      const every = Math.max(1, Math.ceil(14 / rowHeight));
      yAxis.selectAll('text').data(d3.range(0, usedRows, every)).join('text').attr('class', 'faint').attr('text-anchor', 'end')
        .attr('x', margin.left - 6).attr('y', (row) => margin.top + row * rowHeight + Math.min(rowHeight, 12))
        .text((row) => '+' + hex(row * map.rowBytes));
      if (picked) place(chosen, picked.row, picked.column);
      if (mark.attr('visibility') === null) place(mark, cursor.row, cursor.column);
    }

    const at = (event) => {
      const [left, top] = d3.pointer(event, svg.node());
      return { row: Math.floor((top - margin.top) / rowHeight), column: Math.floor((left - margin.left) / step) };
    };
    const inside = ({ row, column }) => row >= 0 && row < usedRows && column >= 0 && column < columns;
    svg.on('pointermove', (event) => {
      const spot = at(event);
      if (inside(spot)) select('map-readout').text(describe(spot.row, spot.column));
    });
    svg.on('click', (event) => {
      const spot = at(event);
      if (inside(spot)) pick(spot.row, spot.column);
    });
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    svg.on('keydown', (event) => {
      if (event.key === 'Enter' || event.key === ' ') pick(cursor.row, cursor.column);
      else if (steps[event.key]) {
        cursor.row = Math.min(Math.max(cursor.row + steps[event.key][0], 0), usedRows - 1);
        cursor.column = Math.min(Math.max(cursor.column + steps[event.key][1], 0), columns - 1);
      } else return;
      event.preventDefault();
      place(mark, cursor.row, cursor.column);
      select('map-readout').text(describe(cursor.row, cursor.column));
    });
    svg.on('blur', () => mark.attr('visibility', 'hidden'));
    drawLegend(map);
    if (observer) observer.disconnect();
    observer = new ResizeObserver(draw);
    observer.observe(box);
    draw();
  }
  let observer = null;

  function drawLegend(map) {
    const writers = [...new Set(map.cells.map((cell) => cell[4]).filter((writer) => writer !== null))].sort(d3.ascending);
    const own = writers.filter((writer) => colourNumber.has(writer));
    const entries = own.map((writer) => [colourOf(writer), nameOf(writer)]);
    const others = writers.length - own.length;
    if (others > 0) entries.push(['var(--other)', `${plural(others, 'other writer')}`]);
    if (map.cells.some((cell) => cell[4] === null)) entries.push(['var(--only-read)', 'only read']);
    const items = select('map-legend').selectAll('li').data(entries).join('li');
    items.selectAll('*').remove();
    items.append('span').attr('class', 'swatch').style('background', (entry) => entry[0]);
    items.append('span').text((entry) => entry[1]);
  }

  function drawMaps() {
    const chooser = select('map-segment');
    if (data.maps.length === 0) {
      select('map').selectAll('.tools, .hint').remove();
      select('map-chart').append('p').attr('class', 'empty').text('The log has no accesses.');
      return;
    }
    chooser.selectAll('option').data(data.maps).join('option').attr('value', (_, i) => i).text((map) => map.label);
    chooser.on('change', () => drawMap(Number(chooser.property('value'))));
    drawMap(0);
  }

  // ---- Lines ------------------------------------------------------------------------------------

  function showLine(line) {
    showBlame(select('line-accesses'), line.table);
    d3.selectAll('#hot tbody tr, #contested tbody tr').classed('selected', (row) => row.line === line);
    document.getElementById('line-accesses').scrollIntoView({ block: 'nearest' });
  }

  function drawLines(id, numbers) {
    const columns = [{ title: 'Line' }, { title: 'Reads', number: true }, { title: 'Writes', number: true }, { title: 'Writers', wrap: true }];
    const table = select(id);
    if (numbers.length === 0) return sayEmpty(table, 'None.');
    const rows = numbers.map((number) => {
      const line = data.lines[number];
      const row = ['', separated(line.reads), separated(line.writes),
        line.writers.map(nameOf).join(', ') + (line.more ? ' and others' : '')];
      row.line = line;
      return row;
    });
    const lines = fillTable(table, columns, rows).attr('class', 'clickable').on('click', (_, row) => showLine(row.line));
    lines.select('td').append('button').attr('type', 'button').attr('class', 'link')
      .text((row) => `${row.line.label}+${hex(row.line.offset)}`);
  }

  // ---- Coverage ---------------------------------------------------------------------------------

  function list(id, title, items) {
    if (items.length === 0) return;
    select(id).append('h3').text(title);
    select(id).append('ul').selectAll('li').data(items).join('li').text((item) => item);
  }

  function drawCoverage() {
    const words = (item) => (item.count === 1 ? '' : separated(item.count) + ' × ') + item.what + ': ' + item.why +
      (item.process ? ` (recording ${item.process})` : '');
    const gaps = data.coverage.filter((item) => item.gap), others = data.coverage.filter((item) => !item.gap);
    select('coverage-summary').text(gaps.length === 0
      ? 'Nothing is missing: every access to shared memory that the policy asks for is in the log.'
      : `${plural(gaps.length, 'thing')} ${gaps.length === 1 ? 'was' : 'were'} not captured; answers that need them may lack something.`);
    list('gaps', 'Not captured', gaps.map(words));
    list('notes', 'Worth knowing', others.map(words));
    list('limits', 'Left out of this page', data.limits);
  }

  drawStory();
  drawProcesses();
  drawTimeline();
  drawSharing();
  drawMaps();
  drawLines('hot', data.hot);
  drawLines('contested', data.contested);
  drawCoverage();
})();
