package invoke

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"vpcprobe/probes"
)

// An expectation is what the target's owner says about its answers: which are
// good, and what customized ones mean.
type expectation struct {
	probes.Expect
	body      *regexp.Regexp
	recognize []recognizer
	private   bool // the target is a private API, which API Gateway answers for and nobody else
}

type recognizer struct {
	probes.Recognize
	body        *regexp.Regexp
	name, value string // of a header
}

func newExpectation(t *probes.Target) (*expectation, error) {
	e := &expectation{Expect: t.Expect, private: t.Kind == probes.PrivateAPI}
	var err error
	if t.Expect.Body != "" {
		if e.body, err = regexp.Compile(t.Expect.Body); err != nil {
			return nil, fmt.Errorf("expect.body: %w", err)
		}
	}
	for i, r := range t.Recognize {
		known := recognizer{Recognize: r}
		if r.Body != "" {
			if known.body, err = regexp.Compile(r.Body); err != nil {
				return nil, fmt.Errorf("recognize[%d].body: %w", i, err)
			}
		}
		if r.Header != "" {
			name, value, ok := strings.Cut(r.Header, ":")
			if !ok {
				return nil, fmt.Errorf("recognize[%d].header: %q is not a name and a value separated by a colon", i, r.Header)
			}
			known.name, known.value = strings.TrimSpace(name), strings.TrimSpace(value)
		}
		e.recognize = append(e.recognize, known)
	}
	return e, nil
}

// recognize returns what the target's owner says that the reply means, as a
// row of the table, or nil.
func (e *expectation) recognizes(r *reply) *denial {
	for _, k := range e.recognize {
		switch {
		case k.Status == 0 && k.name == "" && k.body == nil,
			k.Status != 0 && k.Status != r.status,
			k.name != "" && !slices.Contains(r.header.Values(k.name), k.value),
			k.body != nil && !k.body.Match(r.body):
			continue
		}
		return &denial{id: "recognized", causes: []string{k.Finding}, certainty: probes.Certain, source: "the target's own configuration (recognize)"}
	}
	return nil
}

// judge decides how a complete answer is to be taken.
func (e *expectation) judge(a *Answer, r *reply) (probes.Outcome, error) {
	if !e.accepts(a) {
		if len(a.Causes) == 0 {
			a.Causes, a.Certainty = []string{"status-unexpected"}, probes.Certain
		}
		return statusOutcome(a), fmt.Errorf("%s", a.short())
	}
	if d := e.impostor(a); d != nil {
		a.Denial, a.Family, a.Causes, a.Certainty = d.id, d.family, slices.Clone(d.causes), max(d.certainty, probes.Possible)
		return probes.Unexpected, fmt.Errorf("%s (answered by: %s)", a.short(), a.Who)
	}
	if err := e.checkBody(r); err != nil {
		a.Causes, a.Certainty, a.Family, a.Denial = []string{"body-unexpected"}, probes.Certain, "", ""
		if coding := r.header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
			a.Certainty = probes.Possible
			err = fmt.Errorf("%w, but it came encoded (Content-Encoding: %s), and the agent does not decode it", err, coding)
		}
		if d := e.stranger(a); d != nil {
			a.Causes, a.Certainty, a.Family, a.Denial = slices.Concat(d.causes, a.Causes), probes.Possible, d.family, d.id
		}
		return probes.Unexpected, err
	}
	a.Causes, a.Certainty, a.Family, a.Denial = nil, probes.No, "", ""
	return probes.OK, nil
}

// accepts reports whether the status is a good one. A challenge of AWS WAF has
// status 202, and is not what a caller wants, nor is a gateway response whose
// status was customized.
func (e *expectation) accepts(a *Answer) bool {
	if len(e.Status) > 0 {
		return slices.Contains(e.Status, a.Status)
	}
	recognized := a.Denial == "recognized"
	return a.Status >= 200 && a.Status < 300 && a.WAFAction == "" && a.ErrorType == "" && !recognized
}

// impostor says what it means that a good answer lacks API Gateway's marks,
// which REST APIs return with their answers (API Gateway Developer Guide,
// set-up-access-logging): the same as if the answer were a bad one. It may be a
// proxy's page to log in, or what a web server says to everybody. Whoever says
// what a good answer looks like knows better, and so does whoever calls a
// custom domain: what is in front of it may take the marks away.
func (e *expectation) impostor(a *Answer) *denial {
	if len(e.Status) > 0 || e.body != nil || len(e.JSON) > 0 {
		return nil
	}
	return e.stranger(a)
}

// stranger is what an answer would mean that lacks the marks, if it were a bad
// one; nil if it has them, or need not.
func (e *expectation) stranger(a *Answer) *denial {
	if !e.private || fromGateway(a) {
		return nil
	}
	return match(&Answer{Status: http.StatusNotFound, Who: a.Who, expectsGateway: true})
}

func statusOutcome(a *Answer) probes.Outcome {
	switch s := a.Status; {
	case s == 401 || s == 403:
		return probes.Denied
	case s == 404:
		return probes.NotFound
	case s == 429:
		return probes.Throttled
	case s >= 500 && s < 600:
		return probes.ServerError
	case s >= 400 && s < 500:
		return probes.ClientError
	}
	return probes.Unexpected
}

// short is the answer for an error: status, type and message, in the words
// with which the answer itself is shown.
func (a *Answer) short() string {
	text := strconv.Itoa(a.Status)
	for _, s := range []string{a.ErrorType, quoted(a.Message)} {
		if s != "" {
			text += " " + s
		}
	}
	return text
}

func (e *expectation) checkBody(r *reply) error {
	if e.body != nil && !e.body.Match(r.body) {
		what := "the body does"
		if r.size > int64(len(r.body)) {
			what = "the first 64 KiB of the body do"
		}
		return fmt.Errorf("%s not match expect.body (%s)", what, e.Body)
	}
	if len(e.JSON) == 0 {
		return nil
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return errors.New("the body is no JSON document, or one of more than 64 KiB")
	}
	for _, want := range e.JSON {
		got, ok := at(doc, strings.Split(want.Path, "."))
		if !ok {
			return fmt.Errorf("the body has nothing at %s", want.Path)
		}
		if got != want.Value {
			return fmt.Errorf("the body has %q at %s, not %q", got, want.Path, want.Value)
		}
	}
	return nil
}

// at returns what a JSON document holds at a path, as text.
func at(doc any, path []string) (string, bool) {
	for _, key := range path {
		switch d := doc.(type) {
		case map[string]any:
			var ok bool
			if doc, ok = d[key]; !ok {
				return "", false
			}
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(d) {
				return "", false
			}
			doc = d[i]
		default:
			return "", false
		}
	}
	switch d := doc.(type) {
	case string:
		return d, true
	case json.Number:
		return d.String(), true
	case bool:
		return strconv.FormatBool(d), true
	case nil:
		return "null", true
	}
	b, err := json.Marshal(doc)
	return string(b), err == nil
}
