package followup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
	"vpcprobe/probes/invoke"
)

// Only what answers word for word alike, but for the names in it, is taken for
// the same.
func TestReadControl(t *testing.T) {
	t.Parallel()
	const page = "<html>Access to https://HOSTPATH is not allowed. Ask the network team for an exception, and quote policy 7."
	long := page + strings.Repeat(" All requests are recorded.", 20)
	ending := strings.Repeat("The network team keeps pages like this one. ", 6) + "It is about HOST and ends here."
	const host, other = "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com", "checkip.example"
	at := func(text, host, path string) string {
		text = strings.NewReplacer("HOST", host, "PATH", path).Replace(text)
		return probes.Scrub(text, 300)
	}
	about := func(text string) *invoke.Answer {
		return &invoke.Answer{Host: host, Path: "/prod/health", Status: 403, Who: invoke.Unknown, Server: "x", Body: at(text, host, "/prod/health")}
	}
	control := func(text string, edit func(*invoke.Answer)) probes.Observation {
		a := &invoke.Answer{Host: other, Path: "/", Status: 403, Who: invoke.Unknown, Server: "x", Body: at(text, other, "/")}
		if edit != nil {
			edit(a)
		}
		return probes.Observation{Outcome: probes.Denied, Detail: a}
	}
	for _, tt := range []struct {
		name    string
		control probes.Observation
		about   *invoke.Answer
		want    Reading
	}{
		{"the same page", control(page, nil), about(page), Alike},
		{"the same page, cut", control(long, nil), about(long), Alike},
		{"the same page, cut in the middle of the name", control(ending, nil), about(ending), Alike},
		{"the same message", control("", func(a *invoke.Answer) { a.Message = strings.Repeat("blocked by policy ", 3) }),
			&invoke.Answer{Host: host, Status: 403, Who: invoke.Unknown, Server: "x", Message: strings.Repeat("blocked by policy ", 3)}, Alike},
		{"another page", control(page+" Or not.", nil), about(page), Other},
		{"another page, cut", control(strings.Replace(long, "policy 7", "policy 8", 1), nil), about(long), Other},
		{"another status", control(page, func(a *invoke.Answer) { a.Status = 503 }), about(page), Other},
		{"another server", control(page, func(a *invoke.Answer) { a.Server = "y" }), about(page), Other},
		{"a word that is everybody's", control("Forbidden", nil), about("Forbidden"), Other},
		{"no words", control("", nil), about(""), Other},
		{"a proxy's mark", control(page, func(a *invoke.Answer) { a.Who = invoke.Proxy }), about(page), Proxied},
		{"as it is known to", probes.Observation{Outcome: probes.OK, Detail: &invoke.Answer{Status: 200, Host: other}}, about(page), Passed},
		{"silence", probes.Observation{Outcome: probes.Timeout, Detail: &invoke.Answer{}}, about(page), Silent},
		{"a cut", probes.Observation{Outcome: probes.Reset, Detail: &invoke.Answer{}}, about(page), Cut},
		{"a certificate that nobody trusts", probes.Observation{Outcome: probes.Untrusted, Detail: &invoke.Answer{}}, about(page), Other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := readControl(tt.control, tt.about); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// A stranger's answer tells nothing of how far requests come.
func TestStrangersAreNoGateway(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 403, 404, 503} {
		a := &invoke.Answer{Status: status, Who: invoke.Unknown, Family: invoke.Stranger, Denial: "foreign"}
		if got := read(probes.Observation{Outcome: probes.Denied, Detail: a}); got != Other {
			t.Errorf("%d reads %q, want %q", status, got, Other)
		}
	}
}

// Nothing of the target goes to the control but how to get out.
func TestStrangerHasNothingOfTheTarget(t *testing.T) {
	t.Parallel()
	target := &probes.Target{
		Name:   "orders",
		Kind:   probes.PrivateAPI,
		API:    "a1",
		Region: "eu-west-1",
		Stage:  "prod",
		Path:   "/health",
		Settings: &probes.Settings{
			Method:            "POST",
			Body:              "order",
			Sign:              true,
			Profile:           "p",
			APIKey:            probes.Secret{Env: "KEY"},
			Headers:           []probes.Header{{Name: "X-Tenant", Value: "7"}},
			Endpoint:          probes.Endpoint{ID: "vpce-0a1b2c3d"},
			ClientCertificate: probes.ClientCertificate{Certificate: "c", Key: "k"},
			Resolvers:         []string{"10.0.0.2:53"},
			IPFamily:          "ipv6",
			Trust:             probes.Trust{CAFile: "ca.pem"},
			KeyExchange:       "hybrid",
			Control:           probes.Control{URL: "https://CheckIP.example:8443/now?v=4", Status: []int{204}, Body: "^$"},
		},
	}
	got, err := strangerOf(target)
	if err != nil {
		t.Fatal(err)
	}
	want := probes.Target{
		Name:   "orders",
		Kind:   probes.CustomDomain,
		Domain: "checkip.example",
		Path:   "/now?v=4",
		Settings: &probes.Settings{
			Via:         []probes.Via{probes.ViaDomain},
			Port:        8443,
			Method:      "GET",
			Expect:      probes.Expect{Status: []int{204}, Body: "^$"},
			Resolvers:   []string{"10.0.0.2:53"},
			IPFamily:    "ipv6",
			Trust:       probes.Trust{CAFile: "ca.pem"},
			KeyExchange: "hybrid",
		},
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Error(diff)
	}
	for _, url := range []string{"http://x.example/", "https:///x", "https://u:p@x.example/", "https://x.example:99999/", "://"} {
		target.Control.URL = url
		if got, err := strangerOf(target); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
	}
}
