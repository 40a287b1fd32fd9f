package metrics

import (
	"bufio"
	"bytes"
	"compress/gzip"
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
	buckets []uint64
	sum     float64

	addresses map[netip.Addr]string
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
		s.add(float64(t.UnixMilli())/1000, labels...)
	}
}

func (s *samples) histogram(buckets []uint64, sum float64, labels ...string) {
	s.buckets, s.sum = append(s.buckets[:0], buckets...), sum
	s.add(0, labels...)
}

// reading adds a reading of a kind's own metric, with the labels that the
// observation fills in.
func (s *samples) reading(target string, m *probes.Metric, o *probes.Observation, own []string, v float64) {
	var array [12]string
	labels := append(array[:0], target)
	for _, l := range m.Labels {
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
			value = s.address(o.Addr)
		default:
			if len(own) > 0 {
				value, own = own[0], own[1:]
			}
		}
		labels = append(labels, value)
	}
	s.add(v, labels...)
}

// address is an address as a label: all of a target's have the same port.
func (s *samples) address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	text, ok := s.addresses[a.Addr()]
	if !ok {
		text = a.Addr().String()
		s.addresses[a.Addr()] = text
	}
	return text
}

// An encoder renders families. It is not for use by several goroutines.
type encoder struct {
	samples samples
	w       *bufio.Writer
	gzip    *gzip.Writer
	number  []byte
	open    bool // OpenMetrics rather than the classic text format
}

func newEncoder() *encoder {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // this level is known to exist
	return &encoder{samples: samples{addresses: map[netip.Addr]string{}}, w: bufio.NewWriterSize(nil, 32<<10), gzip: z}
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
		for i := range e.samples.values {
			if f.typ == histogram {
				e.histogram(f, i)
			} else {
				e.sample(f, "", i, "", e.samples.values[i])
			}
		}
	}
}

func (e *encoder) heading(f *family) {
	name := f.name
	if e.open && f.typ == counterType {
		name = strings.TrimSuffix(name, "_total")
	}
	for _, s := range []string{"# HELP ", name, " ", escape(f.help, e.open), "\n# TYPE ", name, " ", f.typ.String(), "\n"} {
		e.w.WriteString(s)
	}
}

func (e *encoder) histogram(f *family, i int) {
	var n uint64
	for j, count := range e.samples.buckets {
		n += count
		le := math.Inf(1)
		if j < len(buckets) {
			le = buckets[j]
		}
		e.sample(f, "_bucket", i, e.bound(le), float64(n))
	}
	e.sample(f, "_sum", i, "", e.samples.sum)
	e.sample(f, "_count", i, "", float64(n))
}

// bound is the label le of a bucket.
func (e *encoder) bound(le float64) string { return string(e.float(le, e.open)) }

// sample writes a line. The labels are written in the order of their names, as
// client_golang does.
func (e *encoder) sample(f *family, suffix string, i int, le string, v float64) {
	e.w.WriteString(f.name)
	e.w.WriteString(suffix)
	separator := byte('{')
	label := func(name, value string) {
		e.w.WriteByte(separator)
		separator = ','
		e.w.WriteString(name)
		e.w.WriteString(`="`)
		e.value(value)
		e.w.WriteByte('"')
	}
	values := e.samples.at(i)
	for _, j := range f.sorted {
		label(f.labels[j], values[j])
	}
	if le != "" {
		label("le", le)
	}
	if separator == ',' {
		e.w.WriteByte('}')
	}
	e.w.WriteByte(' ')
	// In OpenMetrics the counts of a histogram are integers, all else is a float.
	e.w.Write(e.float(v, e.open && suffix != "_bucket" && suffix != "_count"))
	e.w.WriteByte('\n')
}

func (e *encoder) value(text string) {
	if strings.ContainsAny(text, "\\\n\"") || !utf8.ValidString(text) {
		text = escape(valid(text), true)
	}
	e.w.WriteString(text)
}

// float renders a number; dotted asks for a form that cannot be taken for an
// integer.
func (e *encoder) float(v float64, dotted bool) []byte {
	switch {
	case math.IsNaN(v):
		return append(e.number[:0], "NaN"...)
	case math.IsInf(v, 1):
		return append(e.number[:0], "+Inf"...)
	case math.IsInf(v, -1):
		return append(e.number[:0], "-Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1e6: // the same as 'g' gives, faster
		e.number = strconv.AppendInt(e.number[:0], int64(v), 10)
	default:
		e.number = strconv.AppendFloat(e.number[:0], v, 'g', -1, 64)
	}
	if dotted && !bytes.ContainsAny(e.number, "e.") {
		e.number = append(e.number, '.', '0')
	}
	return e.number
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeQuote = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func escape(text string, quotes bool) string {
	if quotes {
		return escapeQuote.Replace(text)
	}
	return escapeHelp.Replace(text)
}
