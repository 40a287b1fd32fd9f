package config

import (
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strings"
	"syscall"

	"vpcprobe/probes"
)

// warn remarks on what can be done, but will hardly work as meant.
func (d *decoder) warn(c *Config) {
	for i, t := range c.Targets {
		path := index("targets", i)
		d.warnMutualTLS(t, path)
		d.warnEndpoint(t, path)
		d.warnRequest(t, path)
		d.warnPlainSecrets(t, path)
		d.warnControl(t, path)
		d.warnFiles(reflect.ValueOf(t).Elem(), path)
		if t.WhileFailing > t.Every {
			d.remark(join(path, "while_failing"), "is longer than every (%v): the target is walked less often while it fails", t.Every)
		}
	}
	d.warnFiles(reflect.ValueOf(c).Elem(), "")
}

func (d *decoder) remark(path, format string, args ...any) {
	o := d.origin(path)
	d.warnings = append(d.warnings, Problem{d.file, o.Line, o.Column, path, fmt.Sprintf(format, args...)})
}

func (d *decoder) warnMutualTLS(t *probes.Target, path string) {
	if t.Kind == probes.PrivateAPI && t.ClientCertificate != (probes.ClientCertificate{}) {
		d.remark(join(path, "client_certificate"), "API Gateway does not support mutual TLS for private APIs "+
			"(Developer Guide, rest-api-mutual-tls): terminate it in front, for example at a load balancer, and use kind custom-domain")
	}
}

// endpointName is the form of the DNS names of an execute-api endpoint: its
// id, a suffix, perhaps a zone, then the region.
var endpointName = regexp.MustCompile(`^(vpce-[0-9a-f]+)-[a-z0-9]+(?:-[a-z0-9-]+)?\.([a-z0-9-]+)\.([a-z0-9-]+)\.vpce\.`)

func (d *decoder) warnEndpoint(t *probes.Target, path string) {
	at := join(path, "endpoint.dns_name")
	m := endpointName.FindStringSubmatch(t.Endpoint.DNSName)
	switch {
	case m == nil:
		if t.Endpoint.DNSName != "" && strings.HasPrefix(t.Endpoint.DNSName, "vpce-") {
			d.remark(at, "does not look like the DNS name of an interface endpoint (an example: %s)", "vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com")
		}
		return
	case m[2] != "execute-api":
		d.remark(at, "is the name of an endpoint for %s, not for execute-api", m[2])
	case t.Region != "" && m[3] != t.Region:
		d.remark(at, "is in %s, but region is %s: an endpoint leads to the APIs of its own region only", m[3], t.Region)
	}
	if t.Endpoint.ID != "" && m[1] != t.Endpoint.ID {
		d.remark(at, "is a name of %s, but endpoint.id is %s", m[1], t.Endpoint.ID)
	}
}

func (d *decoder) warnRequest(t *probes.Target, path string) {
	resource, _, _ := strings.Cut(t.Path, "?")
	if t.Body != "" && (t.Method == "GET" || t.Method == "HEAD") {
		d.remark(join(path, "body"), "is sent with %s, which has no use for one: is method missing?", t.Method)
	}
	switch {
	case t.Kind == probes.CustomDomain && t.Region != "" && (resource == "/ping" || resource == "/sping"):
		d.remark(join(path, "path"), "%s is reserved by API Gateway on custom domains: it answers there by itself, whatever the API does", resource)
	case t.Kind == probes.PrivateAPI && t.Stage == "" && resource == "/":
		d.remark(join(path, "stage"), "is not given, and path has none either: API Gateway answers 403 Forbidden to that")
	case t.Stage != "" && (resource == "/"+t.Stage || strings.HasPrefix(resource, "/"+t.Stage+"/")):
		d.remark(join(path, "path"), "begins with the stage, which is put before it: the request goes to %s", clip(t.URLPath()))
	}
}

// redacted stands where a secret was.
const redacted = "[redacted]"

// holdsSecret reports whether a text has the shape of a secret.
func holdsSecret(s string) bool {
	return strings.Contains(scrubbed(s), redacted) && !strings.Contains(s, redacted)
}

// scrubbed hides what has the shape of a secret, without cutting the text.
func scrubbed(s string) string { return probes.Scrub(s, 4*len(s)+len(redacted)) }

func (d *decoder) warnPlainSecrets(t *probes.Target, path string) {
	for i, h := range t.Headers {
		at := join(index(join(path, "headers"), i), "value")
		if h.Value != "" && d.origins[at].Written == "" && (probes.NamesSecret(h.Name) || holdsSecret(h.Value)) {
			d.remark(at, "looks like a secret: keep it elsewhere, secret: {file: PATH} or secret: {env: NAME}")
		}
	}
	if d.origins[join(path, "body")].Written == "" && holdsSecret(t.Body) {
		d.remark(join(path, "body"), "looks as if it held a secret")
	}
}

// warnControl remarks on a control that nobody will ever ask.
func (d *decoder) warnControl(t *probes.Target, path string) {
	at := join(path, "control")
	switch {
	case !t.Control.Given():
	case !t.FollowUp:
		d.remark(at, "is never asked: follow_up is off")
	case !t.Runs("followup"):
		d.remark(at, "is never asked: kinds leaves followup out")
	case t.Kind == probes.CustomDomain && t.Region == "":
		d.remark(at, "is never asked: without region the domain may be any web server's, and no answer of it is out of place")
	}
	if d.origins[join(at, "url")].Written == "" && holdsSecret(t.Control.URL) {
		d.remark(join(at, "url"), "looks as if it held a secret: the page is to be one that anybody may see")
	}
}

// warnFiles remarks on files that are missing, on secrets that others may
// read, and on variables that are not set, of v and what it holds.
func (d *decoder) warnFiles(v reflect.Value, path string) {
	for _, f := range d.fields(v.Type()) {
		value, at := v.FieldByIndex(f.index), join(path, f.Key)
		switch {
		case isSecret(f.Type):
			d.warnSecret(value.Interface().(probes.Secret), at)
		case shapeOf(f.Type) == mapping:
			d.warnFiles(value, at)
		case f.Format == "file":
			d.warnFile(value.String(), at, f.Key == "key")
		case f.Type == reflect.TypeFor[[]probes.Header]():
			for i, h := range value.Interface().([]probes.Header) {
				d.warnSecret(h.Secret, join(index(at, i), "secret"))
			}
		}
	}
}

func (d *decoder) warnSecret(s probes.Secret, at string) {
	d.warnFile(s.File, join(at, "file"), true)
	if s.Env != "" && d.env[s.Env] == "" {
		d.remark(join(at, "env"), "the environment variable %s is not set", clip(s.Env))
	}
}

func (d *decoder) warnFile(path, at string, secret bool) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		d.remark(at, "%s does not exist yet", path)
	case err != nil:
		d.remark(at, "%v", err)
	case info.IsDir():
		d.remark(at, "%s is a folder, not a file", path)
	case secret && exposed(info):
		d.remark(at, "%s may be read by others (mode %v): chmod 0400 keeps it secret", path, info.Mode().Perm())
	}
}

// exposed reports whether others than its readers may read a file. Kubernetes
// gives a secret to an unprivileged process through the file's group, so the
// group's right to read is wrong only for the owner, who does not need it.
func exposed(info fs.FileInfo) bool {
	mode := info.Mode().Perm()
	if mode&0o004 != 0 {
		return true
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && mode&0o040 != 0 && int(owner.Uid) == os.Geteuid()
}
