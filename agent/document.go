package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"vpcprobe/probes"
)

// SchemaVersion is the version of the JSON documents. It grows when a field is
// removed or changes its meaning; fields may be added without notice.
const SchemaVersion = 1

// A Document is what check -o json prints and /api/v1/status serves.
// docs/json.md describes its fields.
type Document struct {
	SchemaVersion int       `json:"schema_version"`
	GeneratedAt   time.Time `json:"generated_at"`
	Version       string    `json:"version"`

	// ConfigurationError says why the latest reload of the configuration
	// changed nothing.
	ConfigurationError string `json:"configuration_error,omitempty"`

	Summary Summary          `json:"summary"`
	Targets []TargetDocument `json:"targets"`
}

// A Summary counts targets by verdict and findings by severity. Expected
// findings are not counted.
type Summary struct {
	Targets     int          `json:"targets"`
	Reachable   int          `json:"reachable"`
	Degraded    int          `json:"degraded"`
	Unreachable int          `json:"unreachable"`
	Unknown     int          `json:"unknown"`
	Errors      int          `json:"errors"`
	Warnings    int          `json:"warnings"`
	Notices     int          `json:"notices"`
	First       *FirstToMend `json:"first_to_mend,omitempty"`
}

// FirstToMend names the most important finding of all targets: an error before
// a warning, of the lowest layer, the most certain.
type FirstToMend struct {
	Target  string `json:"target"`
	Finding string `json:"finding"`
}

// A TargetDocument is the latest round of one target.
type TargetDocument struct {
	Name         string                `json:"name"`
	Kind         probes.TargetKind     `json:"kind"`
	Verdict      Verdict               `json:"verdict"`
	Since        *time.Time            `json:"since,omitempty"`
	Sentence     string                `json:"sentence"`
	Started      *time.Time            `json:"started,omitempty"`
	Seconds      float64               `json:"seconds"`
	Paths        Paths                 `json:"paths"`
	Findings     []FindingDocument     `json:"findings"`
	Lanes        []LaneDocument        `json:"lanes"`
	Observations []ObservationDocument `json:"observations"`
}

// Paths counts the lanes that callers take.
type Paths struct {
	Total   int `json:"total"`
	Working int `json:"working"`
	Failing int `json:"failing"`
}

// A LaneDocument is one name form of the API at one address.
type LaneDocument struct {
	Via        probes.Via `json:"via"`
	ServerName string     `json:"server_name"`
	Host       string     `json:"host"`
	Addr       string     `json:"addr"`
	Answered   bool       `json:"answered"`
}

// A FindingDocument is a root cause and its remedy. Because holds indexes of
// the target's observations.
type FindingDocument struct {
	ID        string   `json:"id"`
	Severity  string   `json:"severity"`
	Certainty string   `json:"certainty"`
	Title     string   `json:"title"`
	Means     string   `json:"means"`
	Fix       string   `json:"fix"`
	Source    string   `json:"source"`
	Notes     []string `json:"notes,omitempty"`
	Because   []int    `json:"because"`
	Expected  bool     `json:"expected,omitempty"`
}

// An ObservationDocument is one network operation.
type ObservationDocument struct {
	Kind     string          `json:"kind"`
	Via      probes.Via      `json:"via,omitempty"`
	Name     string          `json:"name,omitempty"`
	Addr     string          `json:"addr,omitempty"`
	Resolver string          `json:"resolver,omitempty"`
	Start    time.Time       `json:"start"`
	Seconds  float64         `json:"seconds"`
	Phases   []PhaseDocument `json:"phases,omitempty"`
	Late     float64         `json:"late_seconds,omitempty"` // set if over 5 ms: the machine was busy, and so much later than the kernel we noticed
	Outcome  probes.Outcome  `json:"outcome"`
	Error    string          `json:"error,omitempty"`
	Text     string          `json:"text,omitempty"`
	Values   []ValueDocument `json:"values,omitempty"`
	Detail   json.RawMessage `json:"detail,omitempty"`
}

// A PhaseDocument is a stretch of an operation.
type PhaseDocument struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// A ValueDocument is a reading of a metric. Value is null where it is not a
// number.
type ValueDocument struct {
	Name   string            `json:"name"`
	Value  *float64          `json:"value"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Document renders rounds, in their order, as they are now.
func (a *Agent) Document(rounds []Round) Document { return NewDocument(a.version, time.Now(), rounds) }

// NewDocument renders rounds, in their order.
func NewDocument(version string, at time.Time, rounds []Round) Document {
	d := Document{
		SchemaVersion: SchemaVersion, GeneratedAt: moment(at), Version: version,
		Summary: Summarize(rounds), Targets: make([]TargetDocument, 0, len(rounds)),
	}
	for _, r := range rounds {
		d.Targets = append(d.Targets, NewTargetDocument(r))
	}
	return d
}

// Summarize counts what rounds say.
func Summarize(rounds []Round) Summary {
	s := Summary{Targets: len(rounds)}
	for _, r := range rounds {
		switch r.Verdict {
		case Reachable:
			s.Reachable++
		case Degraded:
			s.Degraded++
		case Unreachable:
			s.Unreachable++
		default:
			s.Unknown++
		}
		for _, f := range r.Findings {
			switch {
			case f.Expected:
			case f.Rule.Severity == probes.Error:
				s.Errors++
			case f.Rule.Severity == probes.Warning:
				s.Warnings++
			default:
				s.Notices++
			}
		}
	}
	if r, f := First(rounds); f != nil {
		s.First = &FirstToMend{r.Evidence.Target.Name, f.Rule.ID}
	}
	return s
}

// First returns the finding to mend first among several rounds, and its round.
// It returns nil if there is none.
func First(rounds []Round) (Round, *probes.Finding) {
	var of Round
	var first *probes.Finding
	for _, r := range rounds {
		f := r.Worst()
		if f != nil && (first == nil || rank(r, *f).before(rank(of, *first))) {
			of, first = r, f
		}
	}
	return of, first
}

// NewTargetDocument renders what a round says of its target.
func NewTargetDocument(r Round) TargetDocument {
	t := r.Evidence.Target
	d := TargetDocument{
		Name: t.Name, Kind: t.Kind, Verdict: r.Verdict, Sentence: r.Sentence(),
		Seconds: seconds(r.Took), Paths: Paths{r.Paths, r.Working, r.Failing},
		Findings: []FindingDocument{}, Lanes: []LaneDocument{}, Observations: []ObservationDocument{},
	}
	if !r.Started.IsZero() {
		started, since := moment(r.Started), moment(r.Since)
		d.Started, d.Since = &started, &since
	}
	all := slices.Collect(r.Evidence.All())
	for _, o := range all {
		d.Observations = append(d.Observations, observationDocument(o))
	}
	for _, f := range r.Findings {
		d.Findings = append(d.Findings, findingDocument(f, all))
	}
	for _, l := range r.Evidence.Lanes {
		d.Lanes = append(d.Lanes, LaneDocument{l.Via, l.ServerName, l.ServerName, address(l.Addr), l.Answered})
	}
	return d
}

func findingDocument(f probes.Finding, all []probes.Observation) FindingDocument {
	d := FindingDocument{
		ID: f.Rule.ID, Severity: f.Rule.Severity.String(), Certainty: f.Certainty.String(),
		Title: f.Rule.Title, Means: f.Rule.Means, Fix: f.Rule.Fix, Source: f.Rule.Source,
		Notes: f.Notes, Because: []int{}, Expected: f.Expected,
	}
	for _, o := range f.Because {
		i := slices.IndexFunc(all, func(p probes.Observation) bool { return same(o, p) })
		if i >= 0 && !slices.Contains(d.Because, i) {
			d.Because = append(d.Because, i)
		}
	}
	return d
}

func observationDocument(o probes.Observation) ObservationDocument {
	d := ObservationDocument{
		Kind: o.Kind, Via: o.Via, Name: o.Name, Addr: address(o.Addr), Resolver: o.Resolver,
		Start: moment(o.Start), Seconds: seconds(o.Took()), Late: seconds(o.Late()), Outcome: o.Outcome,
		Text: Text(o), Detail: raw(o.Detail),
	}
	if o.Err != nil {
		d.Error = o.Err.Error()
	}
	for _, p := range o.Phases {
		d.Phases = append(d.Phases, PhaseDocument{p.Name, seconds(p.Took)})
	}
	for _, v := range o.Values {
		d.Values = append(d.Values, valueDocument(v))
	}
	return d
}

// Text is the line in which an observation is shown to people: what its kind
// says of it, and how it failed. It may be empty.
func Text(o probes.Observation) string {
	text := ""
	if s, ok := o.Detail.(fmt.Stringer); ok && !isNil(o.Detail) {
		text = s.String()
	}
	switch {
	case o.Err == nil:
		return text
	case text == "":
		return o.Err.Error()
	case strings.Contains(text, o.Err.Error()):
		return text
	}
	return text + ": " + o.Err.Error()
}

// isNil reports whether a detail is a nil pointer: it has nothing to say.
func isNil(detail any) bool {
	v := reflect.ValueOf(detail)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// raw is the JSON form of a kind's detail. What cannot be rendered is left out
// rather than spoiling the document.
func raw(detail any) json.RawMessage {
	if detail == nil || isNil(detail) {
		return nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(detail); err != nil {
		return nil
	}
	return bytes.TrimSpace(b.Bytes())
}

func valueDocument(v probes.Value) ValueDocument {
	d := ValueDocument{Name: v.Name}
	if !math.IsNaN(v.V) && !math.IsInf(v.V, 0) {
		d.Value = &v.V
	}
	rest := v.Labels.Append(nil)
	for _, label := range v.Metric.Labels {
		if filled(label) || len(rest) == 0 {
			continue
		}
		if d.Labels == nil {
			d.Labels = map[string]string{}
		}
		d.Labels[label], rest = rest[0], rest[1:]
	}
	return d
}

// filled reports whether a label of a metric is filled in from the
// observation, so that readings do not carry it.
func filled(label string) bool {
	switch label {
	case "kind", "address", "via", "resolver", "name":
		return true
	}
	return false
}

// A Findings document is what explain --response -o json prints: findings
// without a target.
type Findings struct {
	SchemaVersion int               `json:"schema_version"`
	Findings      []FindingDocument `json:"findings"`
}

// FindingsDocument renders findings that belong to no target.
func FindingsDocument(findings []probes.Finding) Findings {
	d := Findings{SchemaVersion: SchemaVersion, Findings: []FindingDocument{}}
	for _, f := range findings {
		d.Findings = append(d.Findings, findingDocument(f, nil))
	}
	return d
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// moment is a time as documents show it: UTC, to the millisecond.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// seconds is a duration as documents show it, to the microsecond.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
