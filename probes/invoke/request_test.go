package invoke

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpcprobe/probes"
)

func TestCleanPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/":                      "/",
		"/prod/health":           "/prod/health",
		"//prod//health":         "/prod/health",
		"/prod/./health":         "/prod/health",
		"/prod/x/../health":      "/prod/health",
		"/prod/":                 "/prod/",
		"/prod//":                "/prod/",
		"/prod/.":                "/prod/",
		"/prod/x/..":             "/prod/",
		"/../../x":               "/x",
		"/a%2Fb/c%20d":           "/a%2Fb/c%20d",
		"/a?b=//./c&d":           "/a?b=//./c&d",
		"/a//b?x=/../y":          "/a/b?x=/../y",
		"/größe":                 "/größe",
		"/prod/health?":          "/prod/health?",
		"/prod/%2e%2e/x":         "/prod/%2e%2e/x",
		"/{proxy+}/a:b;c=d,e@f!": "/{proxy+}/a:b;c=d,e@f!",
	} {
		got, err := cleanPath(in)
		if err != nil || got != want {
			t.Errorf("%q became %q (%v), want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"/a%zz", "/a\r\nHost: x", "/a#b", "/a\x00"} {
		if got, err := cleanPath(in); err == nil {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func secret(t *testing.T, value string) probes.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return probes.Secret{File: path}
}

// What is sent, byte by byte.
func TestRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*testing.T, *probes.Target)
		vary Request
		want string
	}{
		{"plain", func(*testing.T, *probes.Target) {}, Request{},
			"GET /health HTTP/1.1\r\nHost: api.test\r\nUser-Agent: vpcprobe/test\r\nConnection: close\r\n\r\n"},
		{"by the endpoint's name", func(_ *testing.T, t *probes.Target) { t.Via, t.Stage = []probes.Via{probes.ViaEndpoint}, "prod" }, Request{},
			"GET /prod/health HTTP/1.1\r\nHost: api.test\r\nUser-Agent: vpcprobe/test\r\nX-Apigw-Api-Id: a1b2c3d4e5\r\nConnection: close\r\n\r\n"},
		{"by the endpoint's name, the API named by Host", func(_ *testing.T, t *probes.Target) { t.Via = []probes.Via{probes.ViaEndpoint} }, Request{Host: "other.test", NoAPIID: true},
			"GET /health HTTP/1.1\r\nHost: other.test\r\nUser-Agent: vpcprobe/test\r\nConnection: close\r\n\r\n"},
		{"everything", everything, Request{},
			"POST /orders?b=1&a=%20 HTTP/1.1\r\nHost: other.test\r\nAuthorization: Bearer token-1\r\nUser-Agent: vpcprobe/test\r\nX-Api-Key: key-1\r\nX-Tenant: seven\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"},
		{"everything, bare, by a domain", everything, Request{Bare: true, NoAPIKey: true, Method: "GET", Path: "/x"},
			"GET /x HTTP/1.1\r\nHost: other.test\r\nUser-Agent: vpcprobe/test\r\nX-Tenant: seven\r\nConnection: close\r\n\r\n"},
		{"secrets, bare, by a domain", secretive, Request{Bare: true, NoAPIKey: true},
			"GET /health HTTP/1.1\r\nHost: api.test\r\nUser-Agent: vpcprobe/test\r\nConnection: close\r\n\r\n"},
		{"everything, bare, by the API's name", func(t *testing.T, target *probes.Target) {
			everything(t, target)
			target.Via = []probes.Via{probes.ViaPrivateDNS}
		}, Request{Bare: true, NoAPIKey: true, Method: "GET", Path: "/x"},
			"GET /x HTTP/1.1\r\nHost: other.test\r\nUser-Agent: vpcprobe/test\r\nConnection: close\r\n\r\n"},
		{"everything, without Authorization and body", everything, Request{Unsigned: true, NoBody: true, APIKey: "bogus"},
			"POST /orders?b=1&a=%20 HTTP/1.1\r\nHost: other.test\r\nUser-Agent: vpcprobe/test\r\nX-Api-Key: bogus\r\nX-Tenant: seven\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, says(gatewayAnswer("200 OK", "", "{}")), func(w *world) { tt.edit(t, w.target) })
			o := w.client(t).Call(context.Background(), w.lane, tt.vary)
			if o.Outcome != probes.OK {
				t.Fatalf("%s: %v", o.Outcome, o.Err)
			}
			if got := w.requests()[0]; got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func everything(t *testing.T, target *probes.Target) {
	target.Method, target.Path, target.Body = "POST", "/orders?b=1&a= ", "body"
	target.APIKey = secret(t, "key-1")
	target.Headers = []probes.Header{
		{Name: "X-Tenant", Value: "seven"}, {Name: "host", Value: "other.test"},
		{Name: "Authorization", Secret: secret(t, "Bearer token-1")},
	}
}

func secretive(t *testing.T, target *probes.Target) {
	target.Headers = []probes.Header{
		{Name: "Cookie", Value: "session=1"}, {Name: "X-Tenant", Secret: secret(t, "seven")}, {Name: "X-Api-Key", Value: "key-1"},
	}
}

// A caller's own User-Agent is the only one, since firewalls go by it; what asks
// further marks itself beside it.
func TestUserAgent(t *testing.T) {
	t.Parallel()
	for marked, want := range map[bool]string{false: "shop/7.1", true: "shop/7.1 vpcprobe/test"} {
		target := &probes.Target{Settings: &probes.Settings{Headers: []probes.Header{{Name: "user-agent", Value: "shop/7.1"}}}}
		c, err := Clients(probes.Host(), "vpcprobe/test", marked)(target)
		if err != nil {
			t.Fatal(err)
		}
		call, err := c.build(t.Context(), probes.Lane{Via: probes.ViaDomain, ServerName: "api.test"}, Request{}, new(Answer))
		if got := call.request.Header.Values("User-Agent"); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("marked %t: %q (%v), want %q", marked, got, err, want)
		}
	}
}

func TestHeadersThatAreOurs(t *testing.T) {
	t.Parallel()
	for _, h := range []probes.Header{
		{Name: "Connection", Value: "keep-alive"}, {Name: "content-length", Value: "3"}, {Name: "Transfer-Encoding", Value: "chunked"},
		{Name: "X-A", Value: "b\r\nHost: x"}, {Name: "accept-encoding", Value: "gzip"}, {Name: "Accept-Encoding", Secret: probes.Secret{Env: "X"}},
	} {
		if err := checkHeaders(&probes.Target{Settings: &probes.Settings{Headers: []probes.Header{h}}}); err == nil {
			t.Errorf("%s: %q is accepted", h.Name, h.Value)
		}
	}
	if err := checkHeaders(&probes.Target{Settings: &probes.Settings{Headers: []probes.Header{{Name: "Accept-Encoding", Value: "identity"}}}}); err != nil {
		t.Error(err)
	}
	if err := checkHeaders(&probes.Target{Settings: &probes.Settings{Sign: true, Headers: []probes.Header{{Name: "Authorization", Value: "x"}}}}); err == nil {
		t.Error("Authorization beside a signature is accepted")
	}
}

// A secret that cannot be read is our own trouble, and nothing is sent.
func TestSecretMissing(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*probes.Target){
		"no file":      func(t *probes.Target) { t.APIKey = probes.Secret{File: "/nowhere/key"} },
		"a line break": func(target *probes.Target) { target.APIKey = secret(t, "a\r\nb") },
		"a header's": func(t *probes.Target) {
			t.Headers = []probes.Header{{Name: "X-A", Secret: probes.Secret{Env: "VPCPROBE_NOT_SET"}}}
		},
		"a header's break": func(target *probes.Target) {
			target.Headers = []probes.Header{{Name: "X-A", Secret: secret(t, "a\nb")}}
		},
	} {
		w := newWorld(t, says("HTTP/1.1 200 OK\r\n\r\n"), func(w *world) { edit(w.target) })
		o := w.call(t)
		if _, ok := errors.AsType[*SecretFault](o.Err); o.Outcome != probes.Fault || !ok {
			t.Errorf("%s: %s, %v", name, o.Outcome, o.Err)
		}
		if len(w.requests()) > 0 {
			t.Errorf("%s: a request was sent", name)
		}
		seen := probes.Evidence{Target: w.target}.With("invoke", []probes.Observation{o})
		if found := probes.Diagnose(Rules, seen); len(found) != 1 || found[0].Rule.ID != "secret-missing" {
			t.Errorf("%s: %v", name, found)
		}
	}
}

// What was sent in secret is in no observation, whatever comes back.
func TestSecretsDoNotSurface(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "ASIAPLANTED000000001")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-access-key")
	t.Setenv("AWS_SESSION_TOKEN", "planted/session+token==")
	planted := []string{"planted", "ASIAPLANTED"}
	for name, sign := range map[string]bool{"signed": true, "with a bearer token": false} {
		edit := func(w *world) {
			w.target.Sign, w.target.APIKey = sign, secret(t, "planted/api key")
			w.target.Headers = []probes.Header{
				{Name: "X-Tenant", Secret: secret(t, "planted/value<&>")},
				{Name: "X-Tenant-Token", Value: "planted-in-the-configuration"}, // or ${env:NAME}
			}
			if !sign {
				w.target.Headers = append(w.target.Headers, probes.Header{Name: "Authorization", Secret: secret(t, "Bearer planted-bearer")})
			}
		}
		for what, talk := range echoes() {
			w := newWorld(t, talk, edit)
			o := w.call(t)
			if len(w.requests()) != 1 {
				t.Fatalf("%s, %s: %s %v", name, what, o.Outcome, o.Err)
			}
			seen := probes.Evidence{Target: w.target}.With("invoke", []probes.Observation{o})
			text := everythingOf(seen, o)
			for _, s := range planted {
				if strings.Contains(text, s) {
					t.Errorf("%s, %s: %q surfaces in %s", name, what, s, text)
				}
			}
		}
	}
}
