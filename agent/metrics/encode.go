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
	"time"
	"unicode/utf8"

	"vpcprobe/probes"
)

// samples are those of one family and one target. They are collected before
// they are written, so that a slow reader holds no lock, and so that two
// readings with the same labels become one: they must never fail a scrape.
type samples struct {
	width  int // labels of a sample
	labels []string
	values []float64

	// If the family is a histogram, there is one sample, and buckets are the
	// counts by bucket, not cumulative.
	buckets []uint32
	sum     float64

	addresses addresses
}

func (s *samples) reset(width int) {
	s.width, s.labels, s.values, s.buckets = width, s.labels[:0], s.values[:0], s.buckets[:0]
}

func (s *samples) at(i int) []string { return s.labels[i*s.width : (i+1)*s.width] }

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
	s.add(v.V, appendLabels(append(array[:0], target), o, v, s.addresses)...)
}

// counter adds what was summed up of a kind's own metric.
func (s *samples) counter(target string, c *counter) {
	var array [widest]string
	s.add(c.sum, append(append(array[:0], target), c.labels...)...)
}

// appendLabels appends the values of a reading's labels: those that the
// observation fills in, and the reading's own.
func appendLabels(labels []string, o *probes.Observation, v *probes.Value, known addresses) []string {
	own := v.Labels
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
			value = known.text(o.Addr)
		default:
			if len(own) > 0 {
				value, own = own[0], own[1:]
			}
		}
		labels = append(labels, value)
	}
	return labels
}

// addresses are texts of addresses that were needed before; nil remembers none.
type addresses map[netip.Addr]string

// text is an address as a label: all of a target's have the same port.
func (known addresses) text(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	text, ok := known[a.Addr()]
	if !ok {
		text = a.Addr().String()
		if known != nil {
			known[a.Addr()] = text
		}
	}
	return text
}

// An encoder renders families. It is not for use by several goroutines.
type encoder struct {
	samples samples
	open    bool // OpenMetrics rather than the classic text format
	w       io.Writer
	text    []byte // not yet written
	gzip    *gzip.Writer
	bounds  map[bool][]string // the labels le of a histogram, by whether open
}

// chunk is how much text is written at once, in bytes: a quarter of it would
// cost a fifth more CPU time, most of it in the kernel.
const chunk = 128 << 10

func newEncoder() *encoder {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // this level is known to exist
	return &encoder{
		samples: samples{addresses: addresses{}}, text: make([]byte, 0, chunk+chunk/4), gzip: z,
		bounds: map[bool][]string{false: bounds(false), true: bounds(true)},
	}
}

// bounds are the labels of a histogram's buckets. Half of all lines has one.
func bounds(open bool) []string {
	var labels []string
	for _, le := range append(buckets[:], math.Inf(1)) {
		labels = append(labels, string(append(appendFloat([]byte(`,le="`), le, open), '"')))
	}
	return labels
}

// start makes the encoder write to w.
func (e *encoder) start(w io.Writer, open bool) {
	clear(e.samples.addresses)
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

// collect collects the samples of a family and a target, or of the agent if
// there is no target.
func (e *encoder) collect(f *family, s *state) {
	e.samples.reset(len(f.labels))
	if s == nil {
		f.ofAgent(&e.samples)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.ofTarget(s, &e.samples)
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
	if f.ofAgent != nil {
		states = []*state{nil}
	}
	headed := false
	for _, s := range states {
		e.collect(f, s)
		if len(e.samples.values) == 0 {
			continue
		}
		if !headed {
			e.heading(f)
			headed = true
		}
		for i, v := range e.samples.values {
			if f.typ == histogram {
				e.histogram(f, i)
				continue
			}
			e.text = append(e.text, f.name...)
			e.labels(f, i)
			e.end(len(f.labels) > 0, v, e.open)
		}
		e.relieve()
	}
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
	at := len(e.text)
	e.labels(f, i)
	labels := slices.Clone(e.text[at:])
	e.text = e.text[:at]
	line := func(suffix, le string, v float64, dotted bool) {
		e.text = append(e.text, f.name...)
		e.text = append(e.text, suffix...)
		e.text = append(e.text, labels...)
		e.text = append(e.text, le...)
		e.end(true, v, dotted)
	}
	var n uint64
	bounds := e.bounds[e.open]
	for j, count := range e.samples.buckets {
		n += uint64(count)
		line("_bucket", bounds[j], float64(n), false)
	}
	line("_sum", "", e.samples.sum, e.open)
	line("_count", "", float64(n), false)
}

// labels writes the labels of a sample in the order of their names, as
// client_golang does, up to the brace that closes them.
func (e *encoder) labels(f *family, i int) {
	values := e.samples.at(i)
	for n, j := range f.sorted {
		e.text = append(e.text, f.leads[n]...)
		e.text = appendValue(e.text, values[j])
		e.text = append(e.text, '"')
	}
}

// end writes the rest of a line.
func (e *encoder) end(labeled bool, v float64, dotted bool) {
	if labeled {
		e.text = append(e.text, '}')
	}
	e.text = append(e.text, ' ')
	e.text = appendFloat(e.text, v, dotted)
	e.text = append(e.text, '\n')
}

// appendValue appends the value of a label. Nearly all are plain ASCII.
func appendValue(text []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c >= utf8.RuneSelf || c == '\\' || c == '"' || c == '\n' {
			return append(text, escape(valid(value), true)...)
		}
	}
	return append(text, value...)
}

// appendFloat appends a number; dotted asks for a form that cannot be taken
// for an integer.
func appendFloat(text []byte, v float64, dotted bool) []byte {
	at := len(text)
	switch {
	case v == math.Trunc(v) && math.Abs(v) < 1e6: // the same as 'g' gives, faster
		text = strconv.AppendInt(text, int64(v), 10)
	case math.IsNaN(v):
		return append(text, "NaN"...)
	case math.IsInf(v, 1):
		return append(text, "+Inf"...)
	case math.IsInf(v, -1):
		return append(text, "-Inf"...)
	default:
		text = strconv.AppendFloat(text, v, 'g', -1, 64)
	}
	if dotted && !bytes.ContainsAny(text[at:], "e.") {
		text = append(text, '.', '0')
	}
	return text
}

// escape escapes the text of a help line, or, with quotes, that of a label.
func escape(text string, quotes bool) string {
	replacer := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	if quotes {
		replacer = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	}
	return replacer.Replace(text)
}
