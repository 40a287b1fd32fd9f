package invoke

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"vpcprobe/probes"
)

// The bounds on what somebody saved.
const (
	maxSaved   = 16 << 20 // bytes
	maxAnswers = 200
	maxValue   = 16 << 10 // bytes of a header's value
)

// ParseSaved reads answers that somebody saved elsewhere: what curl -i or
// curl -v printed, or a HAR file of a browser. Secrets in it are scrubbed from
// what it returns. Of more than 200 answers, the first are returned.
func ParseSaved(r io.Reader) ([]Answer, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSaved+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSaved {
		return nil, fmt.Errorf("more than %d MiB is too long for saved answers", maxSaved>>20)
	}
	var saved []*exchanged
	if trimmed := bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff"))); bytes.HasPrefix(trimmed, []byte("{")) {
		saved, err = parseHAR(trimmed)
	} else {
		saved = parseCurl(string(text))
	}
	if err != nil {
		return nil, err
	}
	var answers []Answer
	for _, e := range saved[:min(len(saved), maxAnswers)] {
		answers = append(answers, e.answer())
	}
	if answers == nil {
		return nil, errors.New("no HTTP answer in it: neither the output of curl -i or curl -v, nor a HAR file")
	}
	return answers, nil
}

// An exchanged is one saved answer and what is known of its request.
type exchanged struct {
	method, host, target string
	request              http.Header
	asked                bool // the server asked for a client certificate, or nobody knows
	addr                 netip.Addr
	reply                reply
}

func newExchanged() *exchanged {
	return &exchanged{request: http.Header{}, asked: true, reply: reply{header: http.Header{}}}
}

// A saved answer's origin is what [Saved] makes its evidence of.
type origin struct {
	target *probes.Target
	via    probes.Via
	addr   netip.AddrPort
}

// answer reads the exchange as if it had been ours.
func (e *exchanged) answer() Answer {
	a := Answer{Method: e.method, Host: e.host, CertAsked: e.asked}
	var secrets []string
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Amz-Security-Token", "Cookie", "Proxy-Authorization"} {
		for _, v := range e.request.Values(name) {
			secrets = append(secrets, v, afterSpace(v))
		}
	}
	secrets = forms(secrets)
	scrub := func(s string) string { return probes.Scrub(s, maxHeader, secrets...) }
	p, _, _ := strings.Cut(e.target, "?")
	a.Method, a.Host, a.Path = scrub(e.method), scrub(e.host), scrub(p)
	a.KeySent = e.request.Get("X-Api-Key") != ""
	a.apiNamed = e.request.Get("X-Apigw-Api-Id") != ""
	a.Signed = signedBy(e.request.Get("Authorization"), a.Host)
	a.token = hasToken(e.request)
	o := e.origin()
	a.expectsGateway = o.target.API != ""
	a.direct = a.expectsGateway
	a.origin = o
	fill(&a, &e.reply, secrets)
	match(&a).enter(&a, situation{o.target, o.via, e.addr, &a})
	return a
}

// signedBy reads a SigV4 Authorization header, as far as it may be told.
func signedBy(authorization, host string) *Signature {
	_, rest, ok := strings.Cut(authorization, "AWS4-HMAC-SHA256 Credential=")
	if !ok {
		return nil
	}
	credential, _, _ := strings.Cut(rest, ",")
	id, scope, _ := strings.Cut(credential, "/")
	return &Signature{Host: host, Scope: probes.Scrub(scope, maxHeader), KeyID: probes.Scrub(ending(id), 4)}
}

// The default name forms.
var (
	aliasHost    = re(`^([a-z0-9]+)-(vpce-[0-9a-f]+)\.execute-api\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?)$`)
	defaultHost  = re(`^([a-z0-9]+)\.execute-api\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?)$`)
	endpointHost = re(`^vpce-[0-9a-z-]+\.execute-api\.([a-z0-9-]+)\.vpce\.`)
)

// origin finds out what was called from the host name and the path.
func (e *exchanged) origin() origin {
	t := &probes.Target{Name: "saved", Kind: probes.PrivateAPI, Path: "/", Settings: &probes.Settings{Method: e.method}}
	o := origin{target: t}
	segment, _, _ := strings.Cut(strings.TrimPrefix(e.target, "/"), "/")
	t.Stage, _, _ = strings.Cut(segment, "?")
	host := strings.ToLower(e.host)
	if m := aliasHost().FindStringSubmatch(host); m != nil {
		o.via, t.API, t.Endpoint.ID, t.Region, t.DNSSuffix = probes.ViaAlias, m[1], m[2], m[3], m[4]
	} else if m := defaultHost().FindStringSubmatch(host); m != nil {
		o.via, t.API, t.Region, t.DNSSuffix = probes.ViaPrivateDNS, m[1], m[2], m[3]
	} else if m := endpointHost().FindStringSubmatch(host); m != nil {
		o.via, t.API, t.Region, t.Endpoint.DNSName = probes.ViaEndpoint, e.request.Get("X-Apigw-Api-Id"), m[1], host
	} else if host != "" {
		o.via, t.Kind, t.Domain, t.Stage = probes.ViaDomain, probes.CustomDomain, host, ""
	}
	if e.addr.IsValid() {
		o.addr = netip.AddrPortFrom(e.addr, 443)
		if o.via != probes.ViaDomain {
			t.Endpoint.Addresses = []netip.Addr{e.addr}
		}
	}
	return o
}

// Saved returns what a saved answer is evidence of: a target of which only so
// much is known as the answer shows, and an observation.
func Saved(a Answer) (*probes.Target, probes.Observation) {
	t := a.origin.target
	if t == nil {
		t = &probes.Target{Name: "saved", Settings: new(probes.Settings)}
	}
	o := probes.Observation{Kind: name, Via: a.origin.via, Name: a.Host, Addr: a.origin.addr, Detail: &a}
	o.Outcome = probes.OK
	if a.Status >= 300 || a.Status < 200 || a.WAFAction != "" || a.ErrorType != "" {
		o.Outcome, o.Err = statusOutcome(&a), errors.New(a.short())
		if len(a.Causes) == 0 {
			a.Causes, a.Certainty = []string{"status-unexpected"}, probes.Certain
		}
	}
	return t, o
}

// parseHAR reads an HTTP archive.
func parseHAR(text []byte) ([]*exchanged, error) {
	type pair struct{ Name, Value string }
	var har struct {
		Log struct {
			Entries []struct {
				ServerIPAddress string `json:"serverIPAddress"`
				Request         struct {
					Method, URL string
					Headers     []pair
				}
				Response struct {
					Status      int
					HTTPVersion string `json:"httpVersion"`
					Headers     []pair
					Content     struct{ Text, Encoding string }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &har); err != nil {
		return nil, fmt.Errorf("not a HAR file: %w", err)
	}
	var all []*exchanged
	for _, entry := range har.Log.Entries {
		if entry.Response.Status == 0 || len(all) == maxAnswers {
			continue
		}
		e := newExchanged()
		e.method = cut(entry.Request.Method)
		if u, err := url.Parse(cut(entry.Request.URL)); err == nil {
			e.host, e.target = u.Hostname(), u.RequestURI()
		}
		for _, h := range entry.Request.Headers[:min(len(entry.Request.Headers), maxLines)] {
			e.request.Add(h.Name, cut(h.Value))
		}
		for _, h := range entry.Response.Headers[:min(len(entry.Response.Headers), maxLines)] {
			e.reply.header.Add(h.Name, cut(h.Value))
		}
		e.addr, _ = netip.ParseAddr(strings.Trim(entry.ServerIPAddress, "[]"))
		e.reply.status, e.reply.proto = entry.Response.Status, entry.Response.HTTPVersion
		body := []byte(entry.Response.Content.Text)
		if entry.Response.Content.Encoding == "base64" {
			body, _ = base64.StdEncoding.DecodeString(entry.Response.Content.Text)
		}
		e.reply.keep(body)
		all = append(all, e)
	}
	return all, nil
}

// cut bounds a value. What is cut off a secret would not be recognized, so a
// value that is too long is left out.
func cut(value string) string {
	if len(value) > maxValue {
		return ""
	}
	return value
}

// A curlParser reads what curl printed, line by line.
type curlParser struct {
	all     []*exchanged
	now     *exchanged // the exchange whose lines are being read
	heading bool       // within headers that -i printed
	body    bool       // after them
	verbose bool       // -v printed the headers of this answer
	tls     bool       // it told of a TLS handshake
	cert    bool       // in which the server asked for a certificate
}

// What curl says of its progress, on the same standard error as everything
// else: a line that it writes over and over, so that other lines begin or end
// with it.
const meterText = `\r?[ 0-9.kMGTP]{24,}(?:[-0-9]+:[-0-9]{2}:[-0-9]{2} +){3}[0-9.]+[kMGTP]?`

var (
	meterLine  = re(`(?m)^(?: +% Total +% Received.*| +Dload +Upload.*|(?:` + meterText + `)+)\r?\n`)
	meterFirst = re(`(?m)^(?:` + meterText + `)+`)
	meterLast  = re(`(?m)(?:` + meterText + `)+\r?$`)
)

// withoutMeter takes curl's progress out of its output.
func withoutMeter(text string) string {
	for _, meter := range []*regexp.Regexp{meterLine(), meterFirst(), meterLast()} {
		text = meter.ReplaceAllString(text, "")
	}
	return text
}

// parseCurl reads the output of curl -i, curl -v, or both. Answers that only
// precede another, such as a proxy's to CONNECT, are left out.
func parseCurl(text string) []*exchanged {
	p := &curlParser{now: newExchanged()}
	for line := range strings.Lines(withoutMeter(text)) {
		p.line(strings.TrimRight(line, "\r\n"))
	}
	p.finish()
	return p.all
}

func (p *curlParser) line(line string) {
	switch {
	case strings.HasPrefix(line, "* "):
		p.remark(line[2:])
	case strings.HasPrefix(line, "> "):
		p.requested(line[2:])
	case strings.HasPrefix(line, "< "):
		p.answered(line[2:])
	case line == ">" || line == "<" || strings.HasPrefix(line, "{ [") || strings.HasPrefix(line, "} ["):
		p.body = line == "<" || p.body
	case statusLine().MatchString(line) && len(p.now.reply.body) == 0:
		p.printed(line)
	case p.heading:
		p.heading, p.body = line != "", line == ""
		if !p.verbose {
			p.header(line)
		}
	case p.now.reply.status != 0:
		p.text(line)
	}
}

var (
	statusLine = re(`^HTTP/[0-9.]+ [0-9]{3}\b`)
	connected  = re(`(?:Connected to \S+ \(|Trying )\[?([0-9a-fA-F:.]+?)\]?(?:\)|:\d+| port)`)
)

// remark is a line in which curl speaks itself.
func (p *curlParser) remark(text string) {
	if strings.Contains(text, "TLS handshake") {
		p.tls = true
		p.cert = p.cert || strings.Contains(text, "Request CERT")
	}
	if m := connected().FindStringSubmatch(text); m != nil {
		if addr, err := netip.ParseAddr(m[1]); err == nil {
			p.now.addr = addr
		}
	}
}

// requested is a line of the request.
func (p *curlParser) requested(line string) {
	if words := strings.Fields(cut(line)); len(words) == 3 && strings.HasPrefix(words[2], "HTTP/") {
		addr := p.now.addr
		p.finish()
		p.now.addr = addr
		p.now.method, p.now.target = words[0], words[1]
		return
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) || lines(p.now.request) >= maxLines {
		return
	}
	value = cut(strings.TrimSpace(value))
	if strings.EqualFold(name, "Host") {
		p.now.host = value
		if host, _, cut := strings.Cut(value, ":"); cut {
			p.now.host = host
		}
		return
	}
	p.now.request.Add(name, value)
}

// answered is a line of the answer's headers that -v printed.
func (p *curlParser) answered(line string) {
	if statusLine().MatchString(line) {
		p.verbose = true
		p.status(line)
		return
	}
	p.header(line)
}

// printed is a status line that -i printed.
func (p *curlParser) printed(line string) {
	p.heading = true
	if !p.verbose {
		p.status(line)
	}
}

// status begins an answer, in place of an interim one.
func (p *curlParser) status(line string) {
	words := strings.Fields(line)
	p.now.reply.proto = words[0]
	p.now.reply.status, _ = strconv.Atoi(words[1][:3])
	p.now.reply.header = http.Header{}
	p.now.reply.body, p.body = nil, false
}

func (p *curlParser) header(line string) {
	name, value, ok := strings.Cut(line, ":")
	if ok && isToken(name) && lines(p.now.reply.header) < maxLines {
		p.now.reply.header.Add(name, cut(strings.TrimSpace(value)))
	}
}

// text is a line of the body; curl's next remark may follow it immediately.
func (p *curlParser) text(line string) {
	if body, _, ok := strings.Cut(line, "* Connection #"); ok {
		line = body
	}
	p.now.reply.keep([]byte(line + "\n"))
}

// finish ends one exchange, unless nothing was answered or its answer was but
// a proxy's to CONNECT.
func (p *curlParser) finish() {
	e := p.now
	if e.reply.status >= 200 && !(e.method == http.MethodConnect && e.reply.status < 300) && len(p.all) < maxAnswers {
		e.asked = !p.tls || p.cert
		p.all = append(p.all, e)
	}
	p.now = newExchanged()
	p.heading, p.body, p.verbose = false, false, false
}
