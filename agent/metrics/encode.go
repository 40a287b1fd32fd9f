package metrics

import (
	"bytes"
	"compress/gzip"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"vpcprobe/probes"
)

// samples are those of one family and one target. They are collected before
// they are rendered, so that two readings with the same labels become one: they
// must never fail a scrape.
type samples struct {
	width  int // labels of a sample
	labels []string
	values []float64

	since  int64   // from when on they count, in Unix time in milliseconds; 0 for the agent's own
	starts []int64 // the same of each sample, where they differ

	// If the family is a histogram, there is one sample, and buckets are the
	// counts by bucket, not cumulative.
	buckets []uint32
	sum     float64
}

func (s *samples) reset(width int) {
	s.width, s.labels, s.values, s.buckets = width, s.labels[:0], s.values[:0], s.buckets[:0]
	s.since, s.starts = 0, s.starts[:0]
}

func (s *samples) at(i int) []string { return s.labels[i*s.width : (i+1)*s.width] }

// begun is from when on a sample counts, in Unix time in milliseconds.
func (s *samples) begun(i int) int64 {
	if len(s.starts) > 0 {
		return s.starts[i]
	}
	return s.since
}

// find returns the sample with these labels, -1 if there is none.
func (s *samples) find(labels []string) int {
	for i := range s.values {
		if slices.Equal(s.at(i), labels) {
			return i
		}
	}
	return -1
}

// add adds a sample; of two with the same labels the latter counts.
func (s *samples) add(v float64, labels ...string) {
	if i := s.find(labels); i >= 0 {
		s.values[i] = v
		return
	}
	s.labels = append(s.labels, labels...)
	s.values = append(s.values, v)
}

// most adds a sample; of two with the same labels the higher counts.
func (s *samples) most(v float64, labels ...string) {
	if i := s.find(labels); i >= 0 {
		s.values[i] = max(s.values[i], v)
		return
	}
	s.labels = append(s.labels, labels...)
	s.values = append(s.values, v)
}

func (s *samples) timestamp(t time.Time, labels ...string) {
	if !t.IsZero() {
		s.milliseconds(t.UnixMilli(), labels...)
	}
}

// milliseconds adds a moment in Unix time, unless it is 0.
func (s *samples) milliseconds(t int64, labels ...string) {
	if t != 0 {
		s.add(float64(t)/1000, labels...)
	}
}

func (s *samples) histogram(buckets []uint32, sum float64, labels ...string) {
	s.buckets, s.sum = append(s.buckets[:0], buckets...), sum
	s.add(0, labels...)
}

// widest is room for the labels of a reading.
const widest = 12

// reading adds a reading of a kind's own metric.
func (s *samples) reading(target string, o *probes.Observation, v *probes.Value) {
	var array [widest]string
	s.add(v.V, appendLabels(append(array[:0], target), o, v)...)
}

// counter adds what was summed up of a kind's own metric.
func (s *samples) counter(target string, c *counter) {
	var array [widest]string
	s.add(c.sum, c.labels.Append(append(array[:0], target))...)
	s.starts = append(s.starts, c.since)
}

// appendLabels appends the values of a reading's labels: those that the
// observation fills in, and the reading's own.
func appendLabels(labels []string, o *probes.Observation, v *probes.Value) []string {
	var array [widest]string
	own := v.Labels.Append(array[:0])
	for _, l := range v.Metric.Labels {
		value := ""
		switch l {
		case "kind":
			value = o.Kind
		case "via":
			value = string(o.Via)
		case "name":
			value = o.Name
		case "resolver":
			value = o.Resolver
		case "address":
			value = addressText(o.Addr)
		default:
			if len(own) > 0 {
				value, own = own[0], own[1:]
			}
		}
		labels = append(labels, value)
	}
	return labels
}

// addressText is an address as a label: all of a target's have the same port.
func addressText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().String()
}

// An encoder renders families. It is not for use by several goroutines.
type encoder struct {
	samples samples
	open    bool // OpenMetrics rather than the classic text format
	w       io.Writer
	text    []byte // not yet written
	gzip    *gzip.Writer

	recording *sync.RWMutex     // of the metrics
	bounds    map[bool][]string // how the lines of a histogram's buckets go on, by whether open
	labels    []byte            // of a histogram
}

// chunk is how much text is written at once, in bytes: a quarter of it would
// cost a fifth more CPU time, most of it in the kernel.
const chunk = 128 << 10

func newEncoder(recording *sync.RWMutex) *encoder {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // this level is known to exist
	return &encoder{
		recording: recording,
		text:      make([]byte, 0, chunk+chunk/4), gzip: z,
		bounds: map[bool][]string{false: bounds(false), true: bounds(true)},
	}
}

// bounds are what the lines of a histogram's buckets have after the labels of
// its sample. Half of all lines has one.
func bounds(open bool) []string {
	var labels []string
	for _, le := range append(buckets[:], math.Inf(1)) {
		labels = append(labels, string(append(appendFloat([]byte(`",le="`), le, open), `"} `...)))
	}
	return labels
}

// start makes the encoder write to w.
func (e *encoder) start(w io.Writer, open bool) {
	e.w, e.open, e.text = w, open, e.text[:0]
}

// Write implements [io.Writer] for what others have rendered.
func (e *encoder) Write(text []byte) (int, error) {
	e.text = append(e.text, text...)
	e.relieve()
	return len(text), nil
}

// relieve writes once there is enough. Its errors are those of the connection,
// of which nobody is left to tell.
func (e *encoder) relieve() {
	if len(e.text) >= chunk {
		e.flush()
	}
}

func (e *encoder) flush() {
	e.w.Write(e.text)
	e.text = e.text[:0]
}

// batch is of how many targets rounds cannot be recorded while a family of
// theirs is collected. A lock for each target would cost a scrape some percent
// of its CPU time.
const batch = 16

// collect collects the samples of a family and each target, or of the agent,
// and calls use each time.
func (e *encoder) collect(f *family, states []*state, use func()) {
	if f.ofAgent != nil {
		e.samples.reset(len(f.labels))
		f.ofAgent(&e.samples)
		use()
		return
	}
	for part := range slices.Chunk(states, batch) {
		e.collectPart(f, part, use)
		e.relieve()
	}
}

func (e *encoder) collectPart(f *family, states []*state, use func()) {
	e.recording.RLock()
	defer e.recording.RUnlock()
	for _, s := range states {
		e.samples.reset(len(f.labels))
		e.samples.since = s.since
		f.ofTarget(s, &e.samples)
		use()
	}
}

// valid is text that is fit for a label.
func valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// write renders a family as text. A family without samples has no heading
// either.
func (e *encoder) write(f *family, states []*state) {
	headed := false
	e.collect(f, states, func() {
		for i, v := range e.samples.values {
			if !headed {
				e.heading(f)
				headed = true
			}
			if f.typ == histogram {
				e.histogram(f, i)
				continue
			}
			text := append(e.text, f.name...)
			text = f.appendPairs(text, e.samples.at(i))
			text = append(text, f.end...)
			e.text = appendNumber(text, v, e.open)
		}
	})
}

func (e *encoder) heading(f *family) {
	name := f.name
	if e.open && f.typ == counterType {
		name = strings.TrimSuffix(name, "_total")
	}
	for _, s := range []string{"# HELP ", name, " ", escape(f.help, e.open), "\n# TYPE ", name, " ", f.typ.String(), "\n"} {
		e.text = append(e.text, s...)
	}
}

// histogram writes the lines of a histogram. In OpenMetrics its counts are
// integers; all other numbers are not.
func (e *encoder) histogram(f *family, i int) {
	e.labels = f.appendPairs(e.labels[:0], e.samples.at(i))
	text := e.text
	line := func(suffix, end string, v float64, dotted bool) {
		text = append(text, f.name...)
		text = append(text, suffix...)
		text = append(text, e.labels...)
		text = append(text, end...)
		text = appendNumber(text, v, dotted)
	}
	var n uint64
	ends := e.bounds[e.open]
	for j, count := range e.samples.buckets {
		n += uint64(count)
		line("_bucket", ends[j], float64(n), false)
	}
	line("_sum", f.end, e.samples.sum, e.open)
	line("_count", f.end, float64(n), false)
	e.text = text
}

// appendPairs appends the labels of a sample in the order of their names, as
// client_golang does, up to the last one's value.
func (f *family) appendPairs(text []byte, values []string) []byte {
	for n, j := range f.sorted {
		text = append(text, f.leads[n]...)
		text = appendValue(text, values[j])
	}
	return text
}

// appendValue appends the value of a label. Nearly all are plain ASCII.
func appendValue(text []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c >= utf8.RuneSelf || c == '\\' || c <= '"' && (c == '"' || c == '\n') {
			return append(text, escape(valid(value), true)...)
		}
	}
	return append(text, value...)
}

// appendNumber appends what ends a line.
func appendNumber(text []byte, v float64, dotted bool) []byte {
	return append(appendFloat(text, v, dotted), '\n')
}

// appendFloat appends a number; dotted asks for a form that cannot be taken
// for an integer.
func appendFloat(text []byte, v float64, dotted bool) []byte {
	at := len(text)
	if n := int64(v); float64(n) == v && -1e6 < n && n < 1e6 { // the same as 'g' gives, faster
		text = strconv.AppendInt(text, n, 10)
	} else if n := int64(v*1e9 + 0.5); 0 < n && n < 1e15 && float64(n)/1e9 == v {
		text = appendNano(text, n)
	} else {
		text = strconv.AppendFloat(text, v, 'g', -1, 64)
	}
	if dotted && !bytes.ContainsAny(text[at:], "e.IN") {
		text = append(text, '.', '0')
	}
	return text
}

// appendNano appends n / 1e9 as 'g' does, in half the time. The shortest number
// that a float is nearest to is this one, because no other of at most 15 digits
// is near enough. Nearly all seconds are such, since they were durations.
func appendNano(text []byte, n int64) []byte {
	var array [15]byte
	digits := strconv.AppendInt(array[:0], n, 10)
	point := len(digits) - 9
	digits = bytes.TrimRight(digits, "0")
	switch {
	case point < -3:
		text = append(text, digits[0])
		if len(digits) > 1 {
			text = append(text, '.')
			text = append(text, digits[1:]...)
		}
		return append(text, 'e', '-', '0', byte('1'-point))
	case point <= 0:
		text = append(text, "0.000"[:2-point]...)
		return append(text, digits...)
	}
	text = append(text, digits[:point]...)
	text = append(text, '.')
	return append(text, digits[point:]...)
}

// escape escapes the text of a help line, or, with quotes, that of a label.
func escape(text string, quotes bool) string {
	special := "\\\n"
	if quotes {
		special = "\\\n\""
	}
	if !strings.ContainsAny(text, special) {
		return text
	}
	replacer := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	if quotes {
		replacer = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	}
	return replacer.Replace(text)
}
