package config

import (
	"reflect"
	"slices"
	"strings"
)

// unknownKey says what is wrong with a key that a mapping of type t does not
// have: it is misspelled, has another name, or belongs elsewhere.
func unknownKey(key string, t reflect.Type, path string) string {
	if isSecret(t) {
		return "unknown key (one of file, env): a secret is never written here"
	}
	var valid []string
	for _, f := range fieldsOf(t) {
		valid = append(valid, f.Key)
	}
	if at, ok := elsewhere(key, path); ok {
		return "unknown key here (it belongs " + at + ")"
	}
	if s := Suggest(key, valid); s != "" {
		return "unknown key" + s
	}
	if name := otherName(key); slices.Contains(valid, name) {
		return "unknown key" + Suggest(name, valid)
	}
	return "unknown key (one of " + strings.Join(valid, ", ") + ")"
}

// elsewhere says where a key belongs that is right, but not at this place: of
// several places the nearest.
func elsewhere(key, path string) (string, bool) {
	here := indexes.ReplaceAllString(path, "[]")
	best, shared := "", -1
	for _, parent := range parentsOf(key, reflect.TypeFor[Config](), "") {
		n := sharedElements(parent, here)
		deeper := strings.Count(parent, ".") < strings.Count(best, ".")
		if n > shared || n == shared && deeper {
			best, shared = parent, n
		}
	}
	switch {
	case shared < 0:
		return "", false
	case best == "":
		return "at the top level", true
	}
	return "in " + best, true
}

// parentsOf returns the paths of all mappings that have the key.
func parentsOf(key string, t reflect.Type, path string) []string {
	var found []string
	for _, f := range fieldsOf(t) {
		if f.Key == key {
			found = append(found, path)
		}
		below := join(path, f.Key)
		switch shapeOf(f.Type) {
		case mapping:
			found = append(found, parentsOf(key, f.Type, below)...)
		case list:
			if e := element(f.Type); shapeOf(e) == mapping {
				found = append(found, parentsOf(key, e, below+"[]")...)
			}
		}
	}
	return found
}

// sharedElements counts the elements that two paths have in common at their
// beginnings.
func sharedElements(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	n := 0
	for n < min(len(as), len(bs)) && as[n] == bs[n] && as[n] != "" {
		n++
	}
	return n
}

// otherName translates the words of other tools and of AWS into ours.
func otherName(key string) string {
	return map[string]string{
		"interval": "every", "frequency": "every", "period": "every", "scrape_interval": "every",
		"url": "domain", "host": "domain", "hostname": "domain", "host_name": "domain", "domain_name": "domain",
		"rest_api_id": "api", "id": "api", "vpce": "endpoint", "vpc_endpoint": "endpoint",
		"nameservers": "resolvers", "dns_servers": "resolvers", "ip_protocol": "ip_family", "preferred_ip_protocol": "ip_family",
		"tls": "client_certificate", "mtls": "client_certificate", "cert": "certificate", "cert_file": "certificate",
		"key_file": "key", "ca": "ca_file", "cafile": "ca_file", "listen_address": "listen",
		"verb": "method", "uri": "path", "status_code": "status", "sigv4": "sign",
		"web_config": "web_config_file", "pattern": "body", "regex": "body",
	}[plainly(key)]
}
