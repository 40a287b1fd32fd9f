package config

import (
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"vpcprobe/probes"
)

// What API Gateway accepts of a caller of a private API (API Gateway Developer
// Guide, api-gateway-execution-service-limits-table).
const (
	longestURL     = 8192 // characters
	longestHeaders = 8000 // bytes, all headers together
)

// check complains of values that can be read, but not used together.
func (d *decoder) check(c *Config) {
	named := map[string]string{}
	for i, t := range c.Targets {
		path := index("targets", i)
		if d.wrong[path] {
			continue
		}
		if first, ok := named[t.Name]; ok && t.Name != "" {
			d.complain(join(path, "name"), "%s is the name of %s too: names are unique", quote(t.Name), first)
		} else {
			named[t.Name] = path
		}
		d.checkTarget(t, path)
	}
}

// complain reports a problem with the value at a path, or with what holds it
// if it is absent.
func (d *decoder) complain(path, format string, args ...any) {
	if d.wrong[path] {
		return // it could not be read, and that was said
	}
	o := d.origin(path)
	d.problem(o.Line, o.Column, path, fmt.Sprintf(format, args...))
}

// origin is where the file has the value at a path, or what would hold it.
func (d *decoder) origin(path string) Origin {
	for at := path; at != ""; at = at[:max(0, strings.LastIndexAny(at, ".["))] {
		if o := d.origins[at]; o.Line > 0 && o.From == "" {
			return o
		}
	}
	return Origin{File: d.file, Line: 1, Column: 1}
}

func (d *decoder) checkTarget(t *probes.Target, path string) {
	if !d.wrong[join(path, "kind")] {
		d.checkKind(t, path)
		d.checkVia(t, path)
	}
	d.checkPath(t, path)
	d.checkHeaders(t, path)
	d.checkSecret(t.APIKey, join(path, "api_key"))
	d.checkExpect(t, path)
	d.checkRecognize(t, path)
	d.checkControl(t, path)
	d.checkKinds(t, path)
	d.checkPair(path, "client_certificate", "certificate", "key")
	d.checkTwice(join(path, "resolvers"), len(t.Resolvers), func(i int) any { return t.Resolvers[i] })
	d.checkTwice(join(path, "endpoint.addresses"), len(t.Endpoint.Addresses), func(i int) any { return t.Endpoint.Addresses[i] })
	d.checkFamily(t, path)
	if t.Sign && !d.given(join(path, "region")) {
		d.complain(join(path, "region"), "is missing: a signature names the region (an example: eu-west-1)")
	}
}

// need complains if a key of the target is absent.
func (d *decoder) need(path, key, why string) {
	if at := join(path, key); !d.given(at) {
		d.complain(at, "is missing: %s", why)
	}
}

func (d *decoder) checkKind(t *probes.Target, path string) {
	if t.Kind == probes.PrivateAPI {
		d.need(path, "api", "a private-api is named by its API's id (an example: a1b2c3d4e5)")
		d.need(path, "region", "a private-api is named by its region (an example: eu-west-1)")
		if d.given(join(path, "domain")) {
			d.complain(join(path, "domain"), "is for kind custom-domain: a private-api is called by its own names")
		}
		return
	}
	d.need(path, "domain", "a custom-domain is called by its domain (an example: api.example.com)")
	if d.given(join(path, "stage")) {
		d.complain(join(path, "stage"), "a custom domain has no stage in its URL: its base path mapping leads to one, so only path is given")
	}
	if d.given(join(path, "api")) {
		d.complain(join(path, "api"), "is for kind private-api: a custom domain does not name the API")
	}
}

func (d *decoder) checkVia(t *probes.Target, path string) {
	if d.given(join(path, "via")) && len(t.Via) == 0 && !d.wrong[join(path, "via")] {
		d.complain(join(path, "via"), "must not be empty")
	}
	for i, via := range t.Via {
		at := index(join(path, "via"), i)
		switch {
		case via == "": // could not be read
		case slices.Index(t.Via, via) < i:
			d.complain(at, "%s is listed twice", via)
		case (via == probes.ViaDomain) != (t.Kind == probes.CustomDomain):
			d.complain(at, "%s is not a name of a %s, but of a %s", via, t.Kind, otherKind(t.Kind))
		case via == probes.ViaEndpoint:
			d.need(path, "endpoint.dns_name", "via endpoint calls it (AWS shows it among the endpoint's DNS names)")
		case via == probes.ViaAlias:
			d.need(path, "endpoint.id", "via alias is made of it (an example: vpce-0a1b2c3d4e5f67890)")
		}
	}
}

func otherKind(k probes.TargetKind) probes.TargetKind {
	if k == probes.PrivateAPI {
		return probes.CustomDomain
	}
	return probes.PrivateAPI
}

func (d *decoder) checkPath(t *probes.Target, path string) {
	at := join(path, "path")
	if i := strings.IndexFunc(t.Path, func(r rune) bool { return r <= ' ' || r >= 127 || r == '#' || r == '\\' }); i >= 0 {
		d.complain(at, "%q does not belong in a request's path: write it percent-encoded", []rune(t.Path[i:])[0])
		return
	}
	if _, err := url.ParseRequestURI(t.Path); err != nil && t.Path != "" {
		d.complain(at, "is not the path of a URL: a %% is followed by two hexadecimal digits")
	}
	if t.Kind != probes.PrivateAPI {
		return
	}
	for f := range t.Forms() {
		if n := len("https://") + len(f.Name) + len(t.URLPath()); n > longestURL {
			d.complain(at, "makes a URL of %d characters: API Gateway accepts %d for a private API", n, longestURL)
			return
		}
	}
}

func (d *decoder) checkHeaders(t *probes.Target, path string) {
	seen, size := map[string]bool{}, 0
	for i := range t.Headers {
		h, at := &t.Headers[i], index(join(path, "headers"), i)
		h.Name = textproto.CanonicalMIMEHeaderKey(h.Name)
		if why := reserved(h.Name, t); why != "" {
			d.complain(join(at, "name"), "%s is set by the agent%s", h.Name, why)
		} else if seen[h.Name] && h.Name != "" {
			d.complain(join(at, "name"), "%s is given twice (case does not count)", h.Name)
		}
		if h.Name == "Accept-Encoding" && !strings.EqualFold(h.Value, "identity") {
			d.complain(at, "Accept-Encoding must be identity, or left out: the agent does not decode the bodies that it compares with expect")
		}
		seen[h.Name] = true
		size += len(h.Name) + len(h.Value)
		d.checkHeaderValue(*h, at)
	}
	if t.Kind == probes.PrivateAPI && size > longestHeaders {
		d.complain(join(path, "headers"), "take %d bytes: API Gateway accepts %d for a private API", size, longestHeaders)
	}
}

func (d *decoder) checkHeaderValue(h probes.Header, at string) {
	value, secret := d.given(join(at, "value")), d.given(join(at, "secret"))
	switch {
	case value && secret:
		d.complain(at, "has both value and secret: give one")
	case !value && !secret && !d.wrong[at]:
		d.complain(at, "has neither value nor secret: give one")
	case strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 127 }):
		d.complain(join(at, "value"), "holds a line break or another control character, which a header cannot")
	}
	d.checkSecret(h.Secret, join(at, "secret"))
}

// reserved says for which reason a header is not for the configuration to set,
// or "".
func reserved(name string, t *probes.Target) string {
	switch name {
	case "Host":
		return ": it follows from the name form"
	case "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Te", "Trailer", "Proxy-Connection":
		return ": it belongs to the connection"
	case "Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256":
		if t.Sign {
			return ": sign is true, and the signature uses it"
		}
	case "X-Api-Key":
		if t.APIKey.Given() {
			return " from api_key"
		}
	case "X-Apigw-Api-Id":
		if slices.Contains(t.Via, probes.ViaEndpoint) {
			return " for via endpoint"
		}
	}
	return ""
}

// checkSecret asks that a secret is kept in exactly one place.
func (d *decoder) checkSecret(s probes.Secret, path string) {
	if !d.given(path) {
		return
	}
	file, env := d.given(join(path, "file")), d.given(join(path, "env"))
	switch {
	case file && env:
		d.complain(path, "has both file and env: give one")
	case !file && !env:
		d.complain(path, "has neither file nor env: say where the secret is kept")
	}
}

func (d *decoder) checkExpect(t *probes.Target, path string) {
	at := join(path, "expect")
	finding := join(at, "finding")
	if !d.given(finding) {
		return
	}
	if len(t.Expect.Finding) == 0 && !d.wrong[finding] && !d.wrong[index(finding, 0)] {
		d.complain(finding, "must not be empty: name the finding, or the findings, that the refusal is to have")
	}
	d.checkTwice(finding, len(t.Expect.Finding), func(i int) any { return t.Expect.Finding[i] })
	for _, key := range []string{"status", "body", "json"} {
		if d.given(join(at, key)) {
			d.complain(join(at, key), "goes with an answer that is good: with finding, this caller must be refused")
		}
	}
}

// checkKinds looks at the kinds as words; what they need of each other is known
// to those who bind them.
func (d *decoder) checkKinds(t *probes.Target, path string) {
	at := join(path, "kinds")
	if d.given(at) && len(t.Kinds) == 0 && !d.wrong[at] {
		d.complain(at, "must not be empty")
	}
	if d.given(at) && d.given(join(path, "expect.finding")) {
		d.complain(at, "goes with no expect.finding: whether a caller is refused shows when all kinds have run")
	}
	d.checkTwice(at, len(t.Kinds), func(i int) any { return t.Kinds[i] })
	if len(t.Kinds) == 0 || slices.Contains(t.Kinds, "") || d.missing == nil { // "" could not be read
		return
	}
	if missing := d.missing(t); len(missing) > 0 {
		d.complain(at, "stand on %s: list them too", strings.Join(missing, ", "))
	}
}

// checkFamily asks for addresses that callers use.
func (d *decoder) checkFamily(t *probes.Target, path string) {
	for i, addr := range t.Endpoint.Addresses {
		if at := index(join(path, "endpoint.addresses"), i); !t.Uses(addr) && !d.wrong[at] {
			d.complain(at, "%v is not an address that callers use, since ip_family is %s: leave it out, or write ip_family: both in this target", addr, t.IPFamily)
		}
	}
}

func (d *decoder) checkRecognize(t *probes.Target, path string) {
	for i, r := range t.Recognize {
		at := index(join(path, "recognize"), i)
		if !d.given(join(at, "status")) && !d.given(join(at, "header")) && !d.given(join(at, "body")) {
			d.complain(at, "has no condition: give status, header or body")
		}
		name, _, ok := strings.Cut(r.Header, ":")
		if d.given(join(at, "header")) && (!ok || !d.pattern(headerName).MatchString(name)) {
			d.complain(join(at, "header"), "%s is not a header's name and value with a colon between (an example: X-Error: key-missing)", quote(r.Header))
		}
	}
}

// checkControl asks for a page of somebody else: where the target is its own
// control, whatever answers for both proves nothing.
func (d *decoder) checkControl(t *probes.Target, path string) {
	at := join(path, "control.url")
	u, err := url.Parse(t.Control.URL)
	if err != nil || !t.Control.Given() {
		return
	}
	for _, via := range []probes.Via{probes.ViaPrivateDNS, probes.ViaAlias, probes.ViaEndpoint, probes.ViaDomain} {
		if name := t.NameOf(via); name != "" && strings.EqualFold(u.Hostname(), name) {
			d.complain(at, "%s is the target itself: name a page that has nothing to do with it", quote(name))
			return
		}
	}
}

// headerName is the form of a header's name (RFC 9110, section 5.6.2).
const headerName = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

// checkPair asks for both of two keys, or for neither.
func (d *decoder) checkPair(path, section, a, b string) {
	at := join(path, section)
	if d.given(join(at, a)) == d.given(join(at, b)) {
		return
	}
	if d.given(join(at, b)) {
		a, b = b, a
	}
	d.complain(join(at, b), "is missing: %s and %s go together", a, b)
}

// checkTwice complains of equal items in a list.
func (d *decoder) checkTwice(path string, n int, item func(int) any) {
	seen := map[any]bool{}
	for i := range n {
		if at := index(path, i); seen[item(i)] && !d.wrong[at] {
			d.complain(at, "%v is listed twice", item(i))
		}
		seen[item(i)] = true
	}
}
