package main

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"vpcprobe/probes"
)

// proxyWarning says that the environment sends callers of some targets through
// a proxy, or "" if it does not. Targets are probed on the direct way, whatever
// the environment says, so what a proxy does to callers is not seen.
//
// HTTP_PROXY plays no part, since it is for http: URLs; ALL_PROXY does, which
// curl goes by and Go's own client does not. What NO_PROXY exempts is exempt.
func proxyWarning(getenv func(string) string, targets []*probes.Target) string {
	for _, variable := range []string{"HTTPS_PROXY", "ALL_PROXY"} {
		value := either(getenv, variable)
		if value == "" {
			continue
		}
		c := httpproxy.Config{HTTPSProxy: value, NoProxy: either(getenv, "NO_PROXY")}
		sent := sentTo(c.ProxyFunc(), targets)
		if len(sent) == 0 {
			return ""
		}
		return fmt.Sprintf("%s%s is set, and NO_PROXY does not exempt %s: programs that go by it call through that proxy; vpcprobe goes direct, and does not see what they meet",
			variable, hostOf(value), strings.Join(sent, ", "))
	}
	return ""
}

// either returns a variable of the environment, in capitals or not.
func either(getenv func(string) string, name string) string {
	return cmp.Or(getenv(name), getenv(strings.ToLower(name)))
}

// sentTo names the targets that a proxy is for, by any of their names.
func sentTo(proxy func(*url.URL) (*url.URL, error), targets []*probes.Target) []string {
	var names []string
	for _, t := range targets {
		for f := range t.Forms() {
			via, err := proxy(&url.URL{Scheme: "https", Host: fmt.Sprintf("%s:%d", f.Name, cmp.Or(t.Port, 443))})
			if f.Name != "" && (via != nil || err != nil) {
				names = append(names, t.Name)
				break
			}
		}
	}
	if few := 5; len(names) > few {
		names = append(names[:few-1:few-1], fmt.Sprintf("%d others", len(names)-few+1))
	}
	return names
}

// hostOf shows where a proxy is, and never the credentials for it: nothing is
// shown of an address that may hold some in a place where none are expected.
func hostOf(proxy string) string {
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" || u.User == nil && strings.Contains(proxy, "@") {
		return ""
	}
	return " (" + u.Host + ")"
}
