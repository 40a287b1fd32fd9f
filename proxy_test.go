package main

import (
	"strings"
	"testing"

	"vpcprobe/probes"
)

// The environment's proxies are told of where they concern a target, and never
// with their credentials.
func TestProxyWarning(t *testing.T) {
	orders := &probes.Target{
		Name:   "orders",
		Kind:   probes.PrivateAPI,
		API:    "a1b2c3d4e5",
		Region: "eu-west-1",
		Settings: &probes.Settings{
			Via:      []probes.Via{probes.ViaPrivateDNS, probes.ViaEndpoint},
			Endpoint: probes.Endpoint{DNSName: "vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com"},
			Port:     443,
		},
	}
	partners := &probes.Target{Name: "partners", Kind: probes.CustomDomain, Domain: "api.example.com", Settings: &probes.Settings{Via: []probes.Via{probes.ViaDomain}, Port: 8443}}
	for _, tt := range []struct {
		name string
		env  string // NAME=value, separated by spaces
		want string // how the warning begins, up to the names of the targets
	}{
		{"none", "", ""},
		{"for everything", "HTTPS_PROXY=http://proxy.corp:3128", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt orders, partners"},
		{"in small letters", "https_proxy=http://proxy.corp:3128", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt orders, partners"},
		{"as curl has it", "all_proxy=socks5://proxy.corp:1080", "ALL_PROXY (proxy.corp:1080) is set, and NO_PROXY does not exempt orders, partners"},
		{"without a scheme", "HTTPS_PROXY=proxy.corp:3128", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt orders, partners"},
		{"for http: only", "HTTP_PROXY=http://proxy.corp:3128 http_proxy=http://proxy.corp:3128", ""},
		{"one is exempt", "HTTPS_PROXY=http://proxy.corp:3128 NO_PROXY=.example.com", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt orders"},
		{"one of two names is exempt", "HTTPS_PROXY=http://proxy.corp:3128 NO_PROXY=.execute-api.eu-west-1.amazonaws.com,.example.com", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt orders"},
		{"both names are exempt", "HTTPS_PROXY=http://proxy.corp:3128 no_proxy=.amazonaws.com,.example.com", ""},
		{"another port is exempt", "HTTPS_PROXY=http://proxy.corp:3128 NO_PROXY=.amazonaws.com,api.example.com:443", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt partners"},
		{"all are exempt", "HTTPS_PROXY=http://proxy.corp:3128 NO_PROXY=*", ""},
		{"the more special one counts", "HTTPS_PROXY=http://proxy.corp:3128 ALL_PROXY=http://other.corp:3128 NO_PROXY=*", ""},
		{"with credentials", "HTTPS_PROXY=http://caller:s3cret@proxy.corp:3128", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt orders, partners"},
		{"with credentials, without a scheme", "HTTPS_PROXY=caller:s3cret@proxy.corp:3128", "HTTPS_PROXY (proxy.corp:3128) is set, and NO_PROXY does not exempt orders, partners"},
		{"with credentials that break the address", "HTTPS_PROXY=http://s3cret:12#4@proxy.corp:3128", "HTTPS_PROXY is set, and NO_PROXY does not exempt orders, partners"},
		{"with a path in the credentials", "HTTPS_PROXY=http://s3cret/4@proxy.corp:3128", "HTTPS_PROXY is set, and NO_PROXY does not exempt orders, partners"},
		{"no address, which nobody can go by", "HTTPS_PROXY=http://s3cret:%zz@:port", ""},
	} {
		env := map[string]string{}
		for _, v := range strings.Fields(tt.env) {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
		got := proxyWarning(func(name string) string { return env[name] }, []*probes.Target{orders, partners})
		if begin, _, _ := strings.Cut(got, ": programs"); begin != tt.want || strings.Contains(got, "s3cret") {
			t.Errorf("%s: %q, want it to begin with %q", tt.name, got, tt.want)
		}
	}
}

// Of many targets the first few are named.
func TestProxyWarningOfMany(t *testing.T) {
	var targets []*probes.Target
	for _, name := range strings.Fields("a b c d e f g") {
		targets = append(targets, &probes.Target{Name: name, Domain: name + ".example.com", Settings: &probes.Settings{Via: []probes.Via{probes.ViaDomain}}})
	}
	env := func(name string) string { return map[string]string{"HTTPS_PROXY": "http://proxy.corp:3128"}[name] }
	if got := proxyWarning(env, targets); !strings.Contains(got, "exempt a, b, c, d, 3 others:") {
		t.Error(got)
	}
	if got := proxyWarning(env, targets[:5]); !strings.Contains(got, "exempt a, b, c, d, e:") {
		t.Error(got)
	}
}
