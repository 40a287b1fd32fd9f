package config

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
)

// Keys that are added to a [target] begin on line 7, those of a [domain] on line 5.
func TestChecks(t *testing.T) {
	o := Options{Kinds: []string{"resolve", "connect", "trace"}, Findings: []string{"private-dns-off", "throttled"}}
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"names are unique": {
			target + "  - {name: orders, kind: custom-domain, domain: x.example}\n  - {name: Orders, kind: custom-domain, domain: x.example}",
			[]string{`config.yaml:7:12: targets[1].name: "orders" is the name of targets[0] too: names are unique`}},
		"names are fit for labels and files": {
			strings.Replace(target, "orders", "../orders", 1),
			[]string{`config.yaml:2:11: targets[0].name: "../orders" does not match ^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`}},
		"a private API needs api and region": {
			"targets:\n  - name: a\n    stage: prod",
			[]string{
				`config.yaml:2:5: targets[0].api: is missing: a private-api is named by its API's id (an example: a1b2c3d4e5)`,
				`config.yaml:2:5: targets[0].region: is missing: a private-api is named by its region (an example: eu-west-1)`}},
		"a private API has no domain": {
			target + "    domain: api.example.com",
			[]string{`config.yaml:7:13: targets[0].domain: is for kind custom-domain: a private-api is called by its own names`}},
		"a custom domain needs a domain, and no stage or API": {
			"targets:\n  - name: a\n    kind: custom-domain\n    stage: prod\n    api: a1",
			[]string{
				`config.yaml:2:5: targets[0].domain: is missing: a custom-domain is called by its domain (an example: api.example.com)`,
				`config.yaml:4:12: targets[0].stage: a custom domain has no stage in its URL: its base path mapping leads to one, so only path is given`,
				`config.yaml:5:10: targets[0].api: is for kind private-api: a custom domain does not name the API`}},
		"one wrong kind is one problem": {
			"targets:\n  - name: a\n    kind: custom\n",
			[]string{`config.yaml:3:11: targets[0].kind: "custom" is not one of private-api, custom-domain (did you mean "custom-domain"?)`}},
		"name forms need what they are made of": {
			target + "    via: [endpoint, alias]",
			[]string{
				`config.yaml:2:5: targets[0].endpoint.dns_name: is missing: via endpoint calls it (AWS shows it among the endpoint's DNS names)`,
				`config.yaml:2:5: targets[0].endpoint.id: is missing: via alias is made of it (an example: vpce-0a1b2c3d4e5f67890)`}},
		"name forms of the endpoint, with an endpoint": {
			target + "    via: [alias]\n    endpoint: {addresses: [10.0.0.1]}",
			[]string{`config.yaml:8:15: targets[0].endpoint.id: is missing: via alias is made of it (an example: vpce-0a1b2c3d4e5f67890)`}},
		"name forms of the other kind": {
			target + "    via: [private-dns, domain, private-dns, private]",
			[]string{
				`config.yaml:7:24: targets[0].via[1]: domain is not a name of a private-api, but of a custom-domain`,
				`config.yaml:7:32: targets[0].via[2]: private-dns is listed twice`,
				`config.yaml:7:45: targets[0].via[3]: "private" is not one of private-dns, endpoint, alias, domain (did you mean "private-dns"?)`}},
		"no name form": {
			target + "    via: []",
			[]string{`config.yaml:7:10: targets[0].via: must not be empty`}},
		"a signature names the region": {
			domain + "    sign: true",
			[]string{`config.yaml:2:5: targets[0].region: is missing: a signature names the region (an example: eu-west-1)`}},
		"ids have their form": {
			strings.Replace(target, "a1b2c3d4e5", "A1B2", 1) + "    endpoint: {id: vpc-0a1b2c3d}",
			[]string{
				`config.yaml:3:10: targets[0].api: "A1B2" does not match ^[a-z0-9]{1,32}$ (an example: a1b2c3d4e5)`,
				`config.yaml:7:20: targets[0].endpoint.id: "vpc-0a1b2c3d" does not match ^vpce-[0-9a-f]{8,17}$ (an example: vpce-0a1b2c3d4e5f67890)`}},
		"host names": {
			strings.Replace(domain, "api.example.com", "https://api.example.com/x", 1) + "    endpoint: {dns_name: a..b}\n    dns_suffix: x.\n",
			[]string{
				`config.yaml:4:13: targets[0].domain: "https://api.example.com/x" is not a host name: write it without scheme and path`,
				`config.yaml:5:26: targets[0].endpoint.dns_name: "a..b" is not a host name`,
				`config.yaml:6:17: targets[0].dns_suffix: "x." is not a host name: write it without the dot at its end`}},
		"addresses are no host names": {
			strings.Replace(domain, "api.example.com", `"[fd00::1]"`, 1),
			[]string{`config.yaml:4:13: targets[0].domain: "[fd00::1]" is an address, not a host name: addresses go in endpoint.addresses`}},
		"addresses": {
			target + `    endpoint: {addresses: [10.0.0, fe80::1%eth0, 10.0.0.1, "::ffff:10.0.0.1", 010.0.0.1]}`,
			[]string{
				`config.yaml:7:28: targets[0].endpoint.addresses[0]: "10.0.0" is not an IP address (an example: 10.0.1.17)`,
				`config.yaml:7:36: targets[0].endpoint.addresses[1]: "fe80::1%eth0" has a zone, which an endpoint's address never has`,
				`config.yaml:7:60: targets[0].endpoint.addresses[3]: 10.0.0.1 is listed twice`,
				`config.yaml:7:79: targets[0].endpoint.addresses[4]: "010.0.0.1" is not an IP address (an example: 10.0.1.17)`}},
		"address families": {
			"ip_family: ipv4\n" + target + "    endpoint: {addresses: [10.0.1.17, fd00::1, 10.0.0, \"::ffff:10.0.1.18\"]}\n" +
				"  - {name: a, kind: custom-domain, domain: x, ip_family: ipv6, endpoint: {addresses: [fd00::1, 10.0.1.17]}}\n" +
				"  - {name: b, kind: custom-domain, domain: x, ip_family: both, endpoint: {addresses: [fd00::1, 10.0.1.17]}}\n" +
				"  - {name: c, kind: custom-domain, domain: x, ip_family: v4, endpoint: {addresses: [fd00::1, 10.0.1.17]}}\n" +
				"  - {name: d, kind: custom-domain, domain: x, ip_family: 4}\n",
			[]string{
				`config.yaml:8:39: targets[0].endpoint.addresses[1]: fd00::1 is not an address that callers use, since ip_family is ipv4: leave it out, or write ip_family: both in this target`,
				`config.yaml:8:48: targets[0].endpoint.addresses[2]: "10.0.0" is not an IP address (an example: 10.0.1.17)`,
				`config.yaml:9:96: targets[1].endpoint.addresses[1]: 10.0.1.17 is not an address that callers use, since ip_family is ipv6: leave it out, or write ip_family: both in this target`,
				`config.yaml:11:58: targets[3].ip_family: "v4" is not one of both, ipv4, ipv6`,
				`config.yaml:12:58: targets[4].ip_family: "4" is not one of both, ipv4, ipv6`}},
		"resolvers": {
			target + `    resolvers: [system, dns.example, 10.0.0.2:0, 10.0.0.2, "10.0.0.2:53", "System"]`,
			[]string{
				`config.yaml:7:25: targets[0].resolvers[1]: "dns.example" is neither system nor an address with a port (an example: "10.0.0.2:53")`,
				`config.yaml:7:38: targets[0].resolvers[2]: "10.0.0.2:0" is neither system nor an address with a port (an example: "10.0.0.2:53")`,
				`config.yaml:7:60: targets[0].resolvers[4]: 10.0.0.2:53 is listed twice`,
				`config.yaml:7:75: targets[0].resolvers[5]: "System" is neither system nor an address with a port (an example: "10.0.0.2:53")`}},
		"paths": {
			"targets:\n" +
				"  - {name: a, kind: custom-domain, domain: x, path: health}\n" +
				"  - {name: b, kind: custom-domain, domain: x, path: /a b}\n" +
				"  - {name: c, kind: custom-domain, domain: x, path: /%zz}\n" +
				"  - {name: d, kind: custom-domain, domain: x, path: \"/a#b\"}\n",
			[]string{
				`config.yaml:2:53: targets[0].path: "health" does not match ^/ (an example: /health)`,
				`config.yaml:3:53: targets[1].path: ' ' does not belong in a request's path: write it percent-encoded`,
				`config.yaml:4:53: targets[2].path: is not the path of a URL: a % is followed by two hexadecimal digits`,
				`config.yaml:5:53: targets[3].path: '#' does not belong in a request's path: write it percent-encoded`}},
		"controls that prove nothing": {
			"targets:\n" +
				"  - {name: a, kind: custom-domain, domain: x.example, control: {url: \"http://y.example/\"}}\n" +
				"  - {name: b, kind: custom-domain, domain: x.example, control: {url: y.example}}\n" +
				"  - {name: c, kind: custom-domain, domain: x.example, control: {url: \"https://me:s3cr3t-word@y.example/\"}}\n" +
				"  - {name: d, kind: custom-domain, domain: x.example, control: {url: \"https://X.example:8443/other\"}}\n" +
				"  - {name: e, kind: custom-domain, domain: x.example, control: {url: \"https://203.0.113.7/\"}}\n" +
				"  - {name: f, kind: custom-domain, domain: x.example, control: {url: \"https://y.example/#top\"}}\n" +
				"  - {name: g, kind: custom-domain, domain: x.example, control: {url: \"https://y.example:0/\"}}\n" +
				"  - {name: h, kind: custom-domain, domain: x.example, control: {url: \"https://y..example/\"}}\n" +
				"  - {name: i, kind: custom-domain, domain: x.example, control: {url: \"https://y.example/a b\"}}\n" +
				"  - {name: j, kind: custom-domain, domain: x.example, control: {status: [200]}}\n" +
				"  - {name: k, kind: custom-domain, domain: x.example, control: \"https://y.example/\"}\n" +
				"  - {name: l, kind: custom-domain, domain: x.example, control: {url: \"https://y.example/\", status: [20], body: \"(\", method: POST}}\n" +
				"  - {name: m, api: a1, region: eu-west-1, stage: p, endpoint: {id: vpce-0a1b2c3d}, control: {url: \"https://a1-vpce-0a1b2c3d.execute-api.eu-west-1.amazonaws.com/p\"}}\n",
			[]string{
				`config.yaml:2:70: targets[0].control.url: "http://y.example/" is not https: what answers in the clear proves nothing (try a URL that begins with https://)`,
				`config.yaml:3:70: targets[1].control.url: is not the URL of a page (an example: https://checkip.amazonaws.com/)`,
				`config.yaml:4:70: targets[2].control.url: holds a user name or password: the page is to be one that anybody may see, so write the URL without`,
				`config.yaml:5:70: targets[3].control.url: "x.example" is the target itself: name a page that has nothing to do with it`,
				`config.yaml:6:70: targets[4].control.url: "203.0.113.7" is an address: name the host, as its certificate does`,
				`config.yaml:7:70: targets[5].control.url: "https://y.example/#top" has a fragment, which is never sent: write the URL without what begins with #`,
				`config.yaml:8:70: targets[6].control.url: "y.example:0" has no port between 1 and 65535`,
				`config.yaml:9:70: targets[7].control.url: "y..example" is not a host name`,
				`config.yaml:10:70: targets[8].control.url: "https://y.example/a b" holds a character that does not belong in a URL: write it percent-encoded`,
				`config.yaml:11:64: targets[9].control.url: is missing (an example: https://checkip.amazonaws.com/)`,
				`config.yaml:12:64: targets[10].control: must be a mapping of keys to values, not a single value`,
				`config.yaml:13:101: targets[11].control.status[0]: "20" is not between 100 and 599`,
				`config.yaml:13:112: targets[11].control.body: not a regular expression: missing closing ): ` + "`(`" + ``,
				`config.yaml:13:117: targets[11].control.method: unknown key here (it belongs in targets[])`,
				`config.yaml:14:99: targets[12].control.url: "a1-vpce-0a1b2c3d.execute-api.eu-west-1.amazonaws.com" is the target itself: name a page that has nothing to do with it`}},
		"expected findings": {
			"targets:\n" +
				"  - {name: a, kind: custom-domain, domain: x.example, expect: {finding: []}}\n" +
				"  - {name: b, kind: custom-domain, domain: x.example, expect: {finding: [throttled, private-dns-off, throttled]}}\n" +
				"  - {name: c, kind: custom-domain, domain: x.example, expect: {finding: [throtled]}}\n" +
				"  - {name: d, kind: custom-domain, domain: x.example, expect: {finding: throtled}}\n" +
				"  - {name: e, kind: custom-domain, domain: x.example, expect: {finding: {id: throttled}}}\n" +
				"  - {name: f, kind: custom-domain, domain: x.example, expect: {finding: [throttled], status: [403]}}\n" +
				"  - {name: g, kind: custom-domain, domain: x.example, expect: {finding: [~]}}\n" +
				"  - {name: h, kind: custom-domain, domain: x.example, expect: {finding: \"\"}}\n",
			[]string{
				`config.yaml:2:73: targets[0].expect.finding: must not be empty: name the finding, or the findings, that the refusal is to have`,
				`config.yaml:3:102: targets[1].expect.finding[2]: throttled is listed twice`,
				`config.yaml:4:74: targets[2].expect.finding[0]: "throtled" is not a finding (did you mean "throttled"?): vpcprobe explain lists them`,
				`config.yaml:5:73: targets[3].expect.finding: "throtled" is not a finding (did you mean "throttled"?): vpcprobe explain lists them`,
				`config.yaml:6:73: targets[4].expect.finding: must be a list, not a mapping: begin each item with "- "`,
				`config.yaml:7:94: targets[5].expect.status: goes with an answer that is good: with finding, this caller must be refused`,
				`config.yaml:8:74: targets[6].expect.finding[0]: an empty item`,
				`config.yaml:9:73: targets[7].expect.finding: "" is not a finding: vpcprobe explain lists them`}},
		"a URL longer than API Gateway takes": {
			strings.Replace(target, "/health", "/"+strings.Repeat("x", longestURL), 1),
			[]string{`config.yaml:6:11: targets[0].path: makes a URL of 8252 characters: API Gateway accepts 8192 for a private API`}},
		"headers larger than API Gateway takes": {
			target + "    headers: [{name: X-A, value: " + strings.Repeat("x", longestHeaders-2) + "}]",
			[]string{`config.yaml:7:14: targets[0].headers: take 8001 bytes: API Gateway accepts 8000 for a private API`}},
		"headers that the agent sets": {
			target + `    sign: true
    api_key: {env: KEY}
    via: [endpoint]
    endpoint: {dns_name: x}
    headers:
      - {name: HOST, value: x}
      - {name: content-length, value: 1}
      - {name: authorization, secret: {env: X}}
      - {name: x-api-key, secret: {env: X}}
      - {name: x-apigw-api-id, value: x}
`,
			[]string{
				`config.yaml:12:16: targets[0].headers[0].name: Host is set by the agent: it follows from the name form`,
				`config.yaml:13:16: targets[0].headers[1].name: Content-Length is set by the agent: it belongs to the connection`,
				`config.yaml:14:16: targets[0].headers[2].name: Authorization is set by the agent: sign is true, and the signature uses it`,
				`config.yaml:15:16: targets[0].headers[3].name: X-Api-Key is set by the agent from api_key`,
				`config.yaml:16:16: targets[0].headers[4].name: X-Apigw-Api-Id is set by the agent for via endpoint`}},
		"bodies that could not be compared": {
			domain + `    headers: [{name: accept-encoding, value: gzip}]`,
			[]string{`config.yaml:5:15: targets[0].headers[0]: Accept-Encoding must be identity, or left out: the agent does not decode the bodies that it compares with expect`}},
		"headers": {
			domain + `    headers:
      - {name: X-A, value: 1, secret: {env: X}}
      - {name: X-B}
      - {name: x-a, value: ""}
      - {name: "X C", value: 1}
      - {name: X-D, value: "1\r\nHost: evil"}
      - {value: 1}
`,
			[]string{
				`config.yaml:6:9: targets[0].headers[0]: has both value and secret: give one`,
				`config.yaml:7:9: targets[0].headers[1]: has neither value nor secret: give one`,
				`config.yaml:8:16: targets[0].headers[2].name: X-A is given twice (case does not count)`,
				`config.yaml:9:16: targets[0].headers[3].name: "X C" does not match ^[!#$%&'*+.^_|~0-9A-Za-z-]+$ (an example: X-Tenant)`,
				`config.yaml:10:28: targets[0].headers[4].value: holds a line break or another control character, which a header cannot`,
				`config.yaml:11:9: targets[0].headers[5].name: is missing (an example: X-Tenant)`}},
		"secrets are kept in one place": {
			domain + "    api_key: {file: /a, env: B}\n    headers: [{name: X-A, secret: {}}]",
			[]string{
				`config.yaml:5:14: targets[0].api_key: has both file and env: give one`,
				`config.yaml:6:35: targets[0].headers[0].secret: has neither file nor env: say where the secret is kept`}},
		"certificate and key go together": {
			domain + "    client_certificate: {certificate: a.pem}",
			[]string{`config.yaml:5:25: targets[0].client_certificate.key: is missing: certificate and key go together`}},
		"expectations": {
			domain + `    expect: {status: [99, 2xx], body: "(", finding: throtled, json: [{path: a}]}`,
			[]string{
				`config.yaml:5:22: targets[0].expect.status: goes with an answer that is good: with finding, this caller must be refused`,
				`config.yaml:5:23: targets[0].expect.status[0]: "99" is not between 100 and 599`,
				`config.yaml:5:27: targets[0].expect.status[1]: "2xx" is not a whole number`,
				"config.yaml:5:39: targets[0].expect.body: not a regular expression: missing closing ): `(`",
				`config.yaml:5:53: targets[0].expect.finding: "throtled" is not a finding (did you mean "throttled"?): vpcprobe explain lists them`,
				`config.yaml:5:69: targets[0].expect.json: goes with an answer that is good: with finding, this caller must be refused`,
				`config.yaml:5:70: targets[0].expect.json[0].value: is missing`}},
		"what to recognize": {
			domain + `    recognize:
      - {finding: throttled}
      - {finding: slow, status: 1000, header: X-Error}
      - {status: 400, header: "X Error: y", body: "[z-a]"}
`,
			[]string{
				`config.yaml:6:9: targets[0].recognize[0]: has no condition: give status, header or body`,
				`config.yaml:7:19: targets[0].recognize[1].finding: "slow" is not a finding: vpcprobe explain lists them`,
				`config.yaml:7:33: targets[0].recognize[1].status: "1000" is not between 100 and 599`,
				`config.yaml:7:47: targets[0].recognize[1].header: "X-Error" is not a header's name and value with a colon between (an example: X-Error: key-missing)`,
				`config.yaml:8:9: targets[0].recognize[2].finding: is missing`,
				`config.yaml:8:31: targets[0].recognize[2].header: "X Error: y" is not a header's name and value with a colon between (an example: X-Error: key-missing)`,
				"config.yaml:8:51: targets[0].recognize[2].body: not a regular expression: invalid character class range: `z-a`"}},
		"kinds name kinds of probe, each once": {
			domain + "    kinds: [resolve, conect, resolve]\n  - {name: b, kind: custom-domain, domain: b.example, kinds: []}\n" +
				"  - {name: c, kind: custom-domain, domain: c.example, kinds: [resolve], expect: {finding: throttled}}",
			[]string{
				`config.yaml:5:22: targets[0].kinds[1]: "conect" is not a kind of probe (did you mean "connect"?): one of resolve, connect, trace`,
				`config.yaml:5:30: targets[0].kinds[2]: resolve is listed twice`,
				`config.yaml:6:62: targets[1].kinds: must not be empty`,
				`config.yaml:7:62: targets[2].kinds: goes with no expect.finding: whether a caller is refused shows when all kinds have run`}},
		"paces name kinds of probe, once per mistake": {
			"pace: {tracing: , trace: 50ms}\n" + domain + "    pace: {conect: 1m}",
			[]string{
				`config.yaml:1:8: pace.tracing: unknown kind of probe: one of resolve, connect, trace`,
				`config.yaml:1:26: pace.trace: "50ms" is below the minimum of 100ms`,
				`config.yaml:6:12: targets[0].pace.conect: unknown kind of probe (did you mean "connect"?): one of resolve, connect, trace`}},
		"listening": {
			"listen: 127.0.0.1\n" + domain, []string{`config.yaml:1:9: listen: "127.0.0.1" is not an address with a port (an example: 127.0.0.1:9643)`}},
		"listening on a port that is none": {
			"listen: 127.0.0.1:http\n" + domain, []string{`config.yaml:1:9: listen: "127.0.0.1:http" has no port between 0 and 65535`}},
		"durations": {
			"every: 1d\ntimeout: 5 sec\nwhile_failing: 2W\nreload: {every: soon}\npace: {trace: 1h30, connect: -5s, resolve: 10000000h}\n" + domain,
			[]string{
				`config.yaml:1:8: every: "1d" is not a duration (try "24h")`,
				`config.yaml:2:10: timeout: "5 sec" is not a duration (try "5s")`,
				`config.yaml:3:16: while_failing: "2W" is not a duration (try "336h")`,
				`config.yaml:4:17: reload.every: "soon" is not a duration (try "1m30s")`,
				`config.yaml:5:15: pace.trace: "1h30" is not a duration (try "1m30s")`,
				`config.yaml:5:30: pace.connect: "-5s" is not a duration (try "1m30s")`,
				`config.yaml:5:44: pace.resolve: "10000000h" is above the maximum of 8760h`}},
		"durations that would overflow": {
			"every: 2562047h\n" + domain, []string{`config.yaml:1:8: every: "2562047h" is above the maximum of 8760h`}},
		"a collector is a URL without a password": {
			"metrics: {otlp: {endpoint: \"http://bob:hUnter2@host\"}}\n" + domain,
			[]string{`config.yaml:1:28: metrics.otlp.endpoint: holds a user name or password: send it as a header instead, by OTEL_EXPORTER_OTLP_HEADERS`}},
		"a collector is reached by HTTP": {
			"metrics: {otlp: {endpoint: \"ftp://bob:hUnter2@host\"}}\n" + domain,
			[]string{`config.yaml:1:28: metrics.otlp.endpoint: is not the URL of a collector (an example: http://127.0.0.1:4318)`}},
		"keys of other levels and other tools": {
			"region: eu-west-1\ninterval: 5s\ndns_name: x\n" + domain + "    listen: 127.0.0.1:1\n    hostname: x\n    ca_file: x\n    qqq: 1",
			[]string{
				`config.yaml:1:1: region: unknown key here (it belongs in targets[])`,
				`config.yaml:2:1: interval: unknown key (did you mean "every"?)`,
				`config.yaml:3:1: dns_name: unknown key here (it belongs in targets[].endpoint)`,
				`config.yaml:8:5: targets[0].listen: unknown key here (it belongs at the top level)`,
				`config.yaml:9:5: targets[0].hostname: unknown key (did you mean "domain"?)`,
				`config.yaml:10:5: targets[0].ca_file: unknown key here (it belongs in targets[].trust)`,
				`config.yaml:11:5: targets[0].qqq: unknown key (one of name, kind, api, region, dns_suffix, domain, stage, path, method, via, endpoint, resolvers, ip_family, port, sign, profile, api_key, headers, body, expect, recognize, follow_up, control, key_exchange, trust, client_certificate, every, while_failing, timeout, pace, kinds)`}},
		"nothing": {
			"# nothing\n", []string{`config.yaml:1:1: targets: is missing: the file is empty ('vpcprobe config init' prints one to start from)`}},
		"no targets": {
			"targets: []\n", []string{`config.yaml:1:10: targets: must not be empty`}},
	} {
		t.Run(name, func(t *testing.T) { says(t, o, tt.text, tt.want...) })
	}
}

// A secret that was written where its place should be is not repeated in the
// message, which ends up in logs.
func TestMistakesDoNotRepeatSecrets(t *testing.T) {
	const secret = "hUnter2/+=="
	for _, key := range []string{
		"api_key: " + secret,
		"api_key: {env: " + secret + "}",
		"api_key: {value: " + secret + "}",
		"api_key: [" + secret + "]",
		"headers: [{name: X-A, secret: " + secret + "}]",
		"headers: [{name: X-A, value: \"" + secret + `\n"}]`,
	} {
		lines := complaints(t, Options{}, domain+"    "+key+"\n")
		if got := strings.Join(lines, "\n"); strings.Contains(got, "hUnter2") {
			t.Errorf("%s: %s", key, got)
		}
	}
	says(t, Options{}, domain+"    api_key: "+secret+"\n",
		`config.yaml:5:14: targets[0].api_key: a secret is not written here: say where it is kept, {file: PATH} or {env: NAME}`)
	says(t, Options{}, domain+"    api_key: {value: "+secret+", env: "+secret+"}\n",
		`config.yaml:5:15: targets[0].api_key.value: unknown key (one of file, env): a secret is never written here`,
		`config.yaml:5:40: targets[0].api_key.env: is not the name of an environment variable: a secret is never written here`)
}

// The bounds themselves are accepted.
func TestBounds(t *testing.T) {
	l := load(t, "every: 100ms\ntimeout: 10ms\nconcurrency: 100000\nlisten: 127.0.0.1:0\n"+domain+"    port: 65535\n    expect: {status: [100, 599]}\n")
	if l.Every != 100*time.Millisecond || l.Timeout != 10*time.Millisecond || l.Concurrency != 100_000 || l.Targets[0].Port != 65535 {
		t.Errorf("%+v", l.Config)
	}
	load(t, strings.Replace(target, "/health", "/"+strings.Repeat("x", longestURL-59-len("/")), 1)) // https://, the name and /prod are 59
	load(t, target+"    headers: [{name: X-A, value: "+strings.Repeat("x", longestHeaders-3)+"}]")
}

func TestSyntaxErrors(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"tab":               {"targets:\n\t- name: x\n", `config.yaml:2:1: a tab in the indentation: YAML is indented with spaces`},
		"two colons":        {"every: 1s\nlisten: a: b\n", `config.yaml:2:1: a colon where no key is expected: check the indentation, and quote a value that holds ": " (YAML: mapping values are not allowed in this context)`},
		"open quote":        {target + "    body: \"127\n    method: GET\n    port: 1\n", `config.yaml:7:5: a quote is not closed (YAML: found unexpected end of stream)`},
		"open bracket":      {target + "    via: [alias\n    port: 1\n", `config.yaml:7:5: a [ or { is not closed, or a comma is missing (YAML: did not find expected ',' or ']')`},
		"at sign":           {"listen: @x\n", `config.yaml:1:1: a value that starts with this character needs quotes (YAML: found character that cannot start any token)`},
		"escape":            {"listen: \"\\d\"\n", `config.yaml:1:1: an unknown escape after \: use 'single quotes' for text with backslashes (YAML: found unknown escape character)`},
		"unknown alias":     {"every: 1s\nlisten: *x\n", `config.yaml:2:9: aliases are not supported: write the value out`},
		"control":           {"every: 1s\nlisten: \x00\n", `config.yaml:2:1: control characters: this is not a text file, or it was damaged (YAML: control characters are not allowed)`},
		"not UTF-8":         {"every: 1s\nlisten: \xff\xff\n", `config.yaml:2:1: this is not UTF-8 text (YAML: invalid leading UTF-8 octet)`},
		"second is bad":     {target + "---\n\"\n", `config.yaml:8:1: a quote is not closed (YAML: found unexpected end of stream)`},
		"no value":          {"targets\n  every: 1s\n", `config.yaml:2:3: a colon where no key is expected: check the indentation, and quote a value that holds ": " (YAML: mapping values are not allowed in this context)`},
		"list in a map":     {"every: 1s\n- a\n", `config.yaml:2:1: this line does not continue the mapping before it: check its indentation, quotes and brackets (YAML: did not find expected key)`},
		"map in a list":     {"- a\nevery: 1s\n", `config.yaml:2:1: this line does not continue the list before it: check its indentation and the "- " (YAML: did not find expected '-' indicator)`},
		"indentation":       {target + "   port: 443\n    method: GET\n", `config.yaml:7:4: this line does not continue the list before it: check its indentation and the "- " (YAML: did not find expected '-' indicator)`},
		"far down":          {target + strings.Repeat("  # a comment that takes room\n", 1000) + " port: 443\n" + strings.Repeat("#\n", 1000), `config.yaml:1007:2: this line does not continue the mapping before it: check its indentation, quotes and brackets (YAML: did not find expected key)`},
		"after a long line": {target + "    body: \"" + strings.Repeat("x", 10_000) + "\"\n   port: 443\n", `config.yaml:8:4: this line does not continue the list before it: check its indentation and the "- " (YAML: did not find expected '-' indicator)`},
		"in a long line":    {target + "    body: @" + strings.Repeat("x", 10_000) + "\n", `config.yaml:7:5: a value that starts with this character needs quotes (YAML: found character that cannot start any token)`},
		"complex key":       {target + "? [a]\n: b\n", `config.yaml:7:3: a key must be a single word`},
	} {
		t.Run(name, func(t *testing.T) { says(t, Options{}, tt.text, tt.want) })
	}
}

// Warnings are no mistakes: the configuration is loaded.
func TestWarnings(t *testing.T) {
	folder := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open, group, closed := file("open", 0o604), file("group", 0o640), file("closed", 0o600)
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"none": {target, nil},
		"mutual TLS asked of a private API": {
			target + "    client_certificate: {certificate: " + open + ", key: " + closed + "}",
			[]string{`7:25: targets[0].client_certificate: API Gateway does not support mutual TLS for private APIs (Developer Guide, rest-api-mutual-tls): terminate it in front, for example at a load balancer, and use kind custom-domain`}},
		"endpoint of another region": {
			target + "    endpoint: {dns_name: vpce-0a1b2c3d-abc.execute-api.us-east-1.vpce.amazonaws.com}",
			[]string{`7:26: targets[0].endpoint.dns_name: is in us-east-1, but region is eu-west-1: an endpoint leads to the APIs of its own region only`}},
		"another endpoint, of another service": {
			target + "    endpoint: {id: vpce-0a1b2c3e, dns_name: vpce-0a1b2c3d-abc-eu-west-1a.ec2.eu-west-1.vpce.amazonaws.com}",
			[]string{
				`7:45: targets[0].endpoint.dns_name: is the name of an endpoint for ec2, not for execute-api`,
				`7:45: targets[0].endpoint.dns_name: is a name of vpce-0a1b2c3d, but endpoint.id is vpce-0a1b2c3e`}},
		"endpoint of one zone": {
			target + "    endpoint: {dns_name: vpce-0a1b2c3d-abc-eu-west-1a.execute-api.eu-west-1.vpce.amazonaws.com}", nil},
		"half an endpoint's name": {
			target + "    endpoint: {dns_name: vpce-0a1b2c3d}",
			[]string{`7:26: targets[0].endpoint.dns_name: does not look like the DNS name of an interface endpoint (an example: vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com)`}},
		"secrets that others read": {
			domain + "    api_key: {file: " + open + "}\n    headers: [{name: X-A, secret: {file: " + group + "}}, {name: X-B, secret: {file: " + closed + "}}]\n",
			[]string{
				`5:21: targets[0].api_key.file: ` + open + ` may be read by others (mode -rw----r--): chmod 0400 keeps it secret`,
				`6:42: targets[0].headers[0].secret.file: ` + group + ` may be read by others (mode -rw-r-----): chmod 0400 keeps it secret`}},
		"a private key that others read": {
			domain + "    client_certificate: {certificate: " + open + ", key: " + open + ", truststore: " + folder + "}\n",
			[]string{
				`5:` + column(1+len("    client_certificate: {certificate: "+open+", key: ")) + `: targets[0].client_certificate.key: ` + open + ` may be read by others (mode -rw----r--): chmod 0400 keeps it secret`,
				`5:` + column(1+len("    client_certificate: {certificate: "+open+", key: "+open+", truststore: ")) + `: targets[0].client_certificate.truststore: ` + folder + ` is a folder, not a file`}},
		"what is missing": {
			"web_config_file: /nonexistent/web.yaml\n" + domain + "    api_key: {env: NO_SUCH_VARIABLE}\n",
			[]string{
				`1:18: web_config_file: /nonexistent/web.yaml does not exist yet`,
				`6:20: targets[0].api_key.env: the environment variable NO_SUCH_VARIABLE is not set`}},
		"secrets in plain text": {
			domain + "    headers:\n      - {name: Authorization, value: a}\n      - {name: X-Auth-Token, value: b}\n      - {name: X-A, value: Bearer abcdefgh}\n      - {name: X-B, value: plain}\n      - {name: X-My-Token, value: \"${env:TOKEN}\"}\n",
			[]string{
				`6:38: targets[0].headers[0].value: looks like a secret: keep it elsewhere, secret: {file: PATH} or secret: {env: NAME}`,
				`7:37: targets[0].headers[1].value: looks like a secret: keep it elsewhere, secret: {file: PATH} or secret: {env: NAME}`,
				`8:28: targets[0].headers[2].value: looks like a secret: keep it elsewhere, secret: {file: PATH} or secret: {env: NAME}`}},
		"a path that API Gateway answers by itself": {
			domain + "    region: eu-west-1\n    path: /ping?x=1\n",
			[]string{`6:11: targets[0].path: /ping is reserved by API Gateway on custom domains: it answers there by itself, whatever the API does`}},
		"the same path of any other host": {domain + "    path: /sping\n", nil},
		"a body with GET": {
			domain + "    body: x\n", []string{`5:11: targets[0].body: is sent with GET, which has no use for one: is method missing?`}},
		"the stage twice": {
			strings.Replace(target, "/health", "/prod/health", 1),
			[]string{`6:11: targets[0].path: begins with the stage, which is put before it: the request goes to /prod/prod/health`}},
		"no stage": {
			"targets: [{name: a, api: b, region: eu-west-1}]",
			[]string{`1:11: targets[0].stage: is not given, and path has none either: API Gateway answers 403 Forbidden to that`}},
		"a control that follow-ups do not reach": {
			domain + "    region: eu-west-1\n    follow_up: false\n    control: {url: \"https://y.example/\"}\n",
			[]string{`7:14: targets[0].control: is never asked: follow_up is off`}},
		"a control without the kind that asks": {
			target + "    kinds: [resolve, connect]\n    control: {url: \"https://y.example/\"}\n",
			[]string{`8:14: targets[0].control: is never asked: kinds leaves followup out`}},
		"a control of any web server": {
			domain + "    control: {url: \"https://y.example/?token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln\"}\n",
			[]string{
				`5:14: targets[0].control: is never asked: without region the domain may be any web server's, and no answer of it is out of place`,
				`5:20: targets[0].control.url: looks as if it held a secret: the page is to be one that anybody may see`}},
		"a control": {domain + "    region: eu-west-1\n    control: {url: \"https://y.example:8443/ip?v=4\"}\n", nil},
		"slower while failing": {
			domain + "    every: 1s\n    while_failing: 2s\n",
			[]string{`6:20: targets[0].while_failing: is longer than every (1s): the target is walked less often while it fails`}},
	} {
		t.Run(name, func(t *testing.T) {
			l := load(t, tt.text, "TOKEN=x")
			var got []string
			for _, w := range l.Warnings {
				got = append(got, strings.TrimPrefix(w.String(), w.File+":"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func column(n int) string { return strconv.Itoa(n) }

// Kinds of probe stand on others, which must be listed, too.
func TestKindsStandOnOthers(t *testing.T) {
	o := Options{Missing: func(t *probes.Target) []string {
		if t.Runs("resolve") {
			return nil
		}
		return []string{"resolve", "connect"}
	}}
	says(t, o, domain+"    kinds: [invoke]\n  - {name: b, kind: custom-domain, domain: b.example, kinds: [resolve]}\n  - {name: c, kind: custom-domain, domain: c.example}\n",
		`config.yaml:5:12: targets[0].kinds: stand on resolve, connect: list them too`)
}
