package invoke

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/handshake"
)

func TestExpect(t *testing.T) {
	t.Parallel()
	ok := gatewayAnswer("200 OK", "", `{"status":"ok","checks":[{"state":"up","n":1.50,"on":true,"x":null}]}`)
	for _, tt := range []struct {
		name   string
		expect probes.Expect
		answer string
		want   probes.Outcome
		causes []string
	}{
		{"any 2xx", probes.Expect{}, ok, probes.OK, nil},
		{"201 is a 2xx", probes.Expect{}, gatewayAnswer("201 Created", "", ""), probes.OK, nil},
		{"300 is none", probes.Expect{}, gatewayAnswer("302 Found", "", ""), probes.Unexpected, []string{"status-unexpected"}},
		{"another 2xx", probes.Expect{Status: []int{204}}, ok, probes.Unexpected, []string{"status-unexpected"}},
		{"a denial that is wanted", probes.Expect{Status: []int{200, 403}}, gatewayAnswer("403 Forbidden", "ForbiddenException", `{"message":"Forbidden"}`), probes.OK, nil},
		{"404", probes.Expect{}, gatewayAnswer("404 Not Found", "", "{}"), probes.NotFound, []string{"status-unexpected"}},
		{"418", probes.Expect{}, gatewayAnswer("418 Teapot", "", "{}"), probes.ClientError, []string{"status-unexpected"}},
		{"429", probes.Expect{}, gatewayAnswer("429 X", "TooManyRequestsException", "{}"), probes.Throttled, []string{"throttled"}},
		{"500", probes.Expect{}, gatewayAnswer("500 X", "", "{}"), probes.ServerError, []string{"backend-error"}},
		{"401", probes.Expect{}, gatewayAnswer("401 X", "UnauthorizedException", `{"message":"Unauthorized"}`), probes.Denied, []string{"authorizer-unauthorized"}},
		{"999", probes.Expect{}, gatewayAnswer("999 X", "", ""), probes.Unexpected, []string{"backend-error"}},
		{"a challenge has a 2xx", probes.Expect{}, "HTTP/1.1 202 Accepted\r\nx-amzn-waf-action: challenge\r\nContent-Length: 0\r\n\r\n", probes.Unexpected, []string{"waf-challenge"}},
		{"a gateway response has one", probes.Expect{}, gatewayAnswer("200 OK", "BadRequestException", "{}"), probes.Unexpected, []string{"request-invalid"}},
		{"the body matches", probes.Expect{Body: `"status":\s*"ok"`}, ok, probes.OK, nil},
		{"the body does not", probes.Expect{Body: `"status":"down"`}, ok, probes.Unexpected, []string{"body-unexpected"}},
		{"values", probes.Expect{JSON: []probes.Equals{{Path: "status", Value: "ok"}, {Path: "checks.0.state", Value: "up"}, {Path: "checks.0.n", Value: "1.50"}, {Path: "checks.0.on", Value: "true"}, {Path: "checks.0.x", Value: "null"}}}, ok, probes.OK, nil},
		{"another value", probes.Expect{JSON: []probes.Equals{{Path: "checks.0.state", Value: "down"}}}, ok, probes.Unexpected, []string{"body-unexpected"}},
		{"no such value", probes.Expect{JSON: []probes.Equals{{Path: "checks.1.state", Value: "up"}}}, ok, probes.Unexpected, []string{"body-unexpected"}},
		{"no JSON", probes.Expect{JSON: []probes.Equals{{Path: "a", Value: "b"}}}, gatewayAnswer("200 OK", "", "a=b"), probes.Unexpected, []string{"body-unexpected"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newWorld(t, says(tt.answer), func(w *world) { w.target.Expect = tt.expect }).call(t)
			if o.Outcome != tt.want || !slices.Equal(Of(o).Causes, tt.causes) {
				t.Errorf("%s %v (%v), want %s %v", o.Outcome, Of(o).Causes, o.Err, tt.want, tt.causes)
			}
		})
	}
}

// A body that comes compressed, though nobody asked for that, is not held
// against what it should say.
func TestEncodedBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		coding string
		sure   probes.Certainty
		err    string
	}{
		{"", probes.Certain, "the body does not match expect.body (^ok$)"},
		{"identity", probes.Certain, "the body does not match expect.body (^ok$)"},
		{"gzip", probes.Possible, "the body does not match expect.body (^ok$), but it came encoded (Content-Encoding: gzip), and the agent does not decode it"},
		{"Br", probes.Possible, "the body does not match expect.body (^ok$), but it came encoded (Content-Encoding: Br), and the agent does not decode it"},
	} {
		answer := "HTTP/1.1 200 OK\r\nx-amzn-RequestId: 1\r\nContent-Encoding: " + tt.coding + "\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
		o := newWorld(t, says(answer), func(w *world) { w.target.Expect.Body = "^ok$" }).call(t)
		if a := Of(o); o.Outcome != probes.Unexpected || fmt.Sprint(o.Err) != tt.err || a.Certainty != tt.sure || !slices.Equal(a.Causes, []string{"body-unexpected"}) {
			t.Errorf("%q: %s %v %v (%v), want %v (%s)", tt.coding, o.Outcome, a.Causes, a.Certainty, o.Err, tt.sure, tt.err)
		}
	}
}

// The target's owner knows better what a customized answer means.
func TestRecognize(t *testing.T) {
	t.Parallel()
	custom := "HTTP/1.1 403 No\r\nx-amzn-requestid: 1\r\nX-Reason: key\r\nContent-Length: 9\r\n\r\n{\"e\":\"k\"}"
	for _, tt := range []struct {
		name  string
		known probes.Recognize
		want  string
	}{
		{"by header", probes.Recognize{Finding: "api-key-rejected", Header: "x-reason: key"}, "api-key-rejected"},
		{"by status and body", probes.Recognize{Finding: "throttled", Status: 403, Body: `"e":"k"`}, "throttled"},
		{"another header", probes.Recognize{Finding: "throttled", Header: "X-Reason: quota"}, "backend-denied"},
		{"another status", probes.Recognize{Finding: "throttled", Status: 429}, "backend-denied"},
		{"another body", probes.Recognize{Finding: "throttled", Status: 403, Body: "^quota$"}, "backend-denied"},
		{"no condition", probes.Recognize{Finding: "throttled"}, "backend-denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newWorld(t, says(custom), func(w *world) { w.target.Recognize = []probes.Recognize{tt.known} }).call(t)
			if got := Of(o).Causes; !slices.Equal(got, []string{tt.want}) || o.Outcome != probes.Denied {
				t.Errorf("%s %v, want %s", o.Outcome, got, tt.want)
			}
		})
	}
}

func TestWho(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		header string
		body   string
		want   Who
	}{
		{200, "X-Amzn-Requestid: 1|X-Amz-Apigw-Id: 2", "{}", RESTAPI},
		{403, "X-Amzn-Requestid: 1|X-Amz-Apigw-Id: 2|X-Amzn-Errortype: ForbiddenException", `{"message":"Forbidden"}`, RESTAPI},
		{403, "X-Amzn-Requestid: 1|X-Amz-Apigw-Id: 2", `{"message":"Forbidden"}`, Backend},
		{503, "X-Amzn-Requestid: 1|X-Amz-Apigw-Id: 2", `{"message":"Service Unavailable"}`, RESTAPI},
		{202, "X-Amzn-Requestid: 1|X-Amzn-Waf-Action: challenge", "", RESTAPI},
		{404, "Apigw-Requestid: 1", `{"message":"Not Found"}`, HTTPAPI},
		{403, "X-Amzn-Requestid: 1", `{"Message":"Forbidden. For troubleshooting Function URL authorization issues, see: x"}`, FunctionURL},
		{403, "X-Cache: Error from cloudfront|X-Amz-Cf-Id: 1|Via: 1.1 x (CloudFront)|Server: CloudFront", "", CloudFront},
		{200, "X-Amzn-Requestid: 1|X-Amz-Cf-Id: 2|Via: 1.1 x (CloudFront)", "", RESTAPI},
		{503, "Server: awselb/2.0", "", LoadBalancer},
		{403, "Server: squid/6.6", "", Proxy},
		{403, "Via: 1.1 gateway", "", Proxy},
		{407, "", "", Proxy},
		{404, "Server: nginx/1.24", "", Unknown},
		{200, "", "", Unknown},
	} {
		r := &reply{status: tt.status, header: http.Header{}, body: []byte(tt.body)}
		for _, h := range strings.Split(tt.header, "|") {
			if name, value, ok := strings.Cut(h, ": "); ok {
				r.header.Set(name, value)
			}
		}
		if got := who(r, message(r.body)); got != tt.want {
			t.Errorf("%d %s %s: %s, want %s", tt.status, tt.header, tt.body, got, tt.want)
		}
	}
}

// Which answers only those get whose client certificate was taken.
func TestPastCertificate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer Answer
		want   bool
	}{
		{"a good one", Answer{Status: 200, Who: Unknown}, true},
		{"a web server's to a certificate that it does not take", Answer{Status: 400, Who: Unknown}, false},
		{"a redirect to a page about that", Answer{Status: 302, Who: Unknown}, false},
		{"a validator's", Answer{Status: 400, Who: RESTAPI, ErrorType: "BadRequestException"}, true},
		{"an authorizer's", Answer{Status: 403, Who: RESTAPI, ErrorType: "AccessDeniedException", Message: "User is not authorized to access this resource with an explicit deny"}, true},
		{"no such path", Answer{Status: 403, Who: RESTAPI, ErrorType: "MissingAuthenticationTokenException", Message: "Missing Authentication Token"}, true},
		{"Forbidden", Answer{Status: 403, Who: RESTAPI, ErrorType: "ForbiddenException", Message: "Forbidden"}, false},
		{"Forbidden, customized", Answer{Status: 400, Who: RESTAPI, ErrorType: "ForbiddenException"}, false},
		{"Forbidden, customized beyond recognition, or the backend's", Answer{Status: 403, Who: Backend}, false},
		{"an HTTP API's Forbidden", Answer{Status: 403, Who: HTTPAPI, Message: "Forbidden"}, false},
		{"none", Answer{}, false},
	} {
		a := &tt.answer
		a.CertAsked = true
		match(a).enter(a, situation{&probes.Target{Settings: &probes.Settings{}}, probes.ViaDomain, netip.Addr{}, a})
		if got := a.PastCertificate(); got != tt.want {
			t.Errorf("%s: %v, want %v (%v)", tt.name, got, tt.want, a.Causes)
		}
	}
}

// Of whom a domain may lead to depends what makes it Forbidden, in a walk as in
// an answer that was saved.
func TestForbiddenDomains(t *testing.T) {
	t.Parallel()
	const all = "api-key-rejected waf-blocked host-not-recognized base-path-unmapped domain-not-associated"
	for _, tt := range []struct {
		name     string
		addr     string
		endpoint probes.Endpoint
		want     string
	}{
		{"at the endpoint that it is configured with", "10.0.1.17", probes.Endpoint{ID: "vpce-1"}, "api-key-rejected waf-blocked base-path-unmapped domain-not-associated"},
		{"at a private address", "10.0.1.17", probes.Endpoint{}, all},
		{"at a shared address, which VPCs may use", "100.64.0.7", probes.Endpoint{}, all},
		{"at an IPv6 address, which tells nothing", "2001:db8::7", probes.Endpoint{}, all},
		{"at an unknown address", "", probes.Endpoint{}, all},
		{"at a public address", "198.51.100.7", probes.Endpoint{}, "api-key-rejected waf-blocked host-not-recognized base-path-unmapped"},
	} {
		var addr netip.AddrPort
		remark := ""
		if tt.addr != "" {
			addr = netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 443)
			remark = "* Connected to api.example.com (" + tt.addr + ") port 443\n* (304) (IN), TLS handshake, Server hello (2):\n"
		}
		a := &Answer{Status: 403, Who: RESTAPI, ErrorType: "ForbiddenException", Message: "Forbidden"}
		target := &probes.Target{Kind: probes.CustomDomain, Settings: &probes.Settings{Endpoint: tt.endpoint}}
		match(a).enter(a, situation{target, probes.ViaDomain, addr.Addr(), a})
		if got := strings.Join(a.Causes, " "); got != tt.want {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
		}
		if tt.endpoint.ID != "" {
			continue // of which a saved answer says nothing
		}
		saved, err := ParseSaved(strings.NewReader(remark + "> GET /x HTTP/1.1\n> Host: api.example.com\n> \n< HTTP/1.1 403 X\n< x-amzn-requestid: 1\n< x-amzn-errortype: ForbiddenException\n< \n{\"message\":\"Forbidden\"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.DeleteFunc(saved[0].Causes, func(c string) bool { return c == "client-cert-distrusted" }), " "); got != tt.want {
			t.Errorf("%s, saved: got  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// Nobody's policies were asked about a caller who did not say who it is.
func TestAnonymousIsNobody(t *testing.T) {
	t.Parallel()
	const all = "resource-policy-silent resource-policy-denies endpoint-policy-silent endpoint-policy-denies identity-policy-silent identity-policy-denies organization-policy-denies authorizer-denies authorizer-policy-narrow caller-anonymous access-key-invalid"
	for _, tt := range []struct {
		name   string
		target probes.Target
		signed *Signature
		want   string
	}{
		{"signed", probes.Target{Settings: &probes.Settings{}}, &Signature{}, all},
		{"an Authorization header of the caller's own", probes.Target{Settings: &probes.Settings{Headers: []probes.Header{{Name: "authorization", Value: "AWS4-HMAC-SHA256 Credential=x"}}}}, nil, all},
		{"anonymous", probes.Target{Settings: &probes.Settings{}}, nil, "resource-policy-silent resource-policy-denies endpoint-policy-silent endpoint-policy-denies organization-policy-denies authorizer-denies authorizer-policy-narrow caller-anonymous"},
	} {
		a := &Answer{Status: 403, Who: RESTAPI, ErrorType: "AccessDeniedException", Signed: tt.signed}
		match(a).enter(a, situation{&tt.target, probes.ViaPrivateDNS, netip.Addr{}, a})
		if got := strings.Join(a.Causes, " "); got != tt.want {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// What is not API Gateway for sure is not the private API, and be it friendly.
func TestImpostors(t *testing.T) {
	t.Parallel()
	ok := func(header string) string { return "HTTP/1.1 200 OK\r\n" + header + "Content-Length: 5\r\n\r\nhello" }
	private := func(w *world) { w.target.Kind, w.target.API = probes.PrivateAPI, "a1b2c3d4e5" }
	generic := func(w *world) { w.target.Kind, w.target.API, w.target.Region = probes.CustomDomain, "", "" }
	domain := func(w *world) { w.target.Kind, w.target.API = probes.CustomDomain, "" } // of a region: somebody signs
	for _, tt := range []struct {
		name   string
		edit   func(*world)
		answer string
		want   probes.Outcome
		causes string
	}{
		{"a load balancer's fixed response", private, ok("Server: awselb/2.0\r\n"), probes.Unexpected, "not-api-gateway"},
		{"a proxy's page", private, ok("Via: 1.1 proxy.corp\r\n"), probes.Unexpected, "proxy-in-the-way"},
		{"nothing tells who it is", private, ok(""), probes.Unexpected, "not-api-gateway proxy-in-the-way"},
		{"nothing tells, and a server says its name", private, ok("Server: nginx\r\n"), probes.Unexpected, "not-api-gateway proxy-in-the-way"},
		{"the owner says which status is good", func(w *world) { private(w); w.target.Expect.Status = []int{200} }, ok(""), probes.OK, ""},
		{"API Gateway, by its id for the request", private, ok("x-amzn-RequestId: 1\r\n"), probes.OK, ""},
		{"API Gateway, by its id that callers cannot set", private, ok("x-amz-apigw-id: 1\r\n"), probes.OK, ""},
		{"a domain of which an API is known, behind what takes the marks away", func(w *world) { w.target.API = "a1b2c3d4e5" }, ok(""), probes.OK, ""},
		{"the owner wants it so", func(w *world) { private(w); w.target.Expect.Body = "hello" }, ok("Via: 1.1 proxy.corp\r\n"), probes.OK, ""},
		{"API Gateway by way of a proxy", private, ok("Via: 1.1 proxy.corp\r\nx-amzn-RequestId: 1\r\n"), probes.OK, ""},
		{"the body is not as the owner wants it", func(w *world) { private(w); w.target.Expect.Body = "bye" }, ok(""), probes.Unexpected, "not-api-gateway proxy-in-the-way body-unexpected"},
		{"nor is that of the API", func(w *world) { private(w); w.target.Expect.Body = "bye" }, ok("x-amzn-RequestId: 1\r\n"), probes.Unexpected, "body-unexpected"},
		{"a page to log in elsewhere", private, "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", probes.Unexpected, "not-api-gateway proxy-in-the-way"},
		{"a proxy's page to log in elsewhere", private, "HTTP/1.1 302 Found\r\nVia: 1.1 proxy.corp\r\nServer: squid\r\nContent-Length: 0\r\n\r\n", probes.Unexpected, "proxy-in-the-way"},
		{"any web server that moved", generic, "HTTP/1.1 302 Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n", probes.Unexpected, "status-unexpected"},
		{"any web server that knows no such page", generic, "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n", probes.NotFound, "status-unexpected"},
		{"any web server that fails", generic, "HTTP/1.1 500 X\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n", probes.ServerError, "status-unexpected"},
		{"any load balancer without targets", generic, "HTTP/1.1 503 X\r\nServer: awselb/2.0\r\nContent-Length: 0\r\n\r\n", probes.ServerError, "status-unexpected"},
		{"a reverse proxy before a signed API", domain, "HTTP/1.1 502 Bad Gateway\r\nVia: 1.1 edge\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n", probes.ServerError, "not-api-gateway proxy-in-the-way"},
		{"one that says its name", domain, "HTTP/1.1 503 X\r\nServer: haproxy\r\nContent-Length: 0\r\n\r\n", probes.ServerError, "not-api-gateway proxy-in-the-way"},
		{"a forward proxy before a signed API", domain, "HTTP/1.1 503 X\r\nVia: 1.1 corp (squid/6)\r\nServer: squid\r\nContent-Length: 0\r\n\r\n", probes.ServerError, "proxy-in-the-way"},
		{"a reverse proxy's page to log in", domain, "HTTP/1.1 302 Found\r\nVia: 1.1 edge\r\nContent-Length: 0\r\n\r\n", probes.Unexpected, "not-api-gateway proxy-in-the-way"},
		{"a reverse proxy before the API", domain, "HTTP/1.1 500 X\r\nVia: 1.1 edge\r\nx-amzn-RequestId: 1\r\nContent-Length: 0\r\n\r\n", probes.ServerError, "backend-error"},
		{"any web server", generic, ok("Via: 1.1 varnish\r\nServer: awselb/2.0\r\n"), probes.OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newWorld(t, says(tt.answer), tt.edit).call(t)
			if got := strings.Join(Of(o).Causes, " "); o.Outcome != tt.want || got != tt.causes {
				t.Errorf("%s %s (%v), want %s %s", o.Outcome, got, o.Err, tt.want, tt.causes)
			}
		})
	}
}

func TestSkew(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		date string
		took time.Duration
		want float64
	}{
		{"Sun, 22 Nov 2026 03:00:00 GMT", 0, 0.5},
		{"Sun, 22 Nov 2026 03:00:01 GMT", 2 * time.Second, 0.5},
		{"Sun, 22 Nov 2026 03:10:00 GMT", 100 * time.Millisecond, 600.45},
		{"Sun, 22 Nov 2026 02:50:00 GMT", 100 * time.Millisecond, -599.55},
	} {
		r := &reply{header: http.Header{"Date": {tt.date}}, sent: sent, first: sent.Add(tt.took)}
		if got := skew(r); got == nil || *got != tt.want {
			t.Errorf("%s: %v, want %v", tt.date, got, tt.want)
		}
	}
	for _, date := range []string{"", "yesterday"} {
		if got := skew(&reply{header: http.Header{"Date": {date}}, sent: sent}); got != nil {
			t.Errorf("%q: %v", date, *got)
		}
	}
}

// The Date header decides about the clock where the answer leaves it open.
func TestClock(t *testing.T) {
	t.Parallel()
	seconds := func(s float64) *float64 { return &s }
	const expired, early, mismatch = "Signature expired: a is now earlier than b (c - 5 min.)", "Signature not yet current: a is still later than b", "custom"
	for _, tt := range []struct {
		message string
		skew    *float64
		want    string
		sure    probes.Certainty
	}{
		{expired, seconds(600), "clock-behind", probes.Certain},
		{expired, seconds(10), "clock-behind", probes.Possible},
		{expired, nil, "clock-behind", probes.Likely},
		{early, seconds(-600), "clock-ahead", probes.Certain},
		{early, seconds(0), "clock-ahead", probes.Possible},
		{early, nil, "clock-ahead", probes.Possible},
		{mismatch, seconds(301), "clock-behind", probes.Certain},
		{mismatch, seconds(-301), "clock-ahead", probes.Certain},
		{mismatch, seconds(299), "signature-mismatch signing-scope-wrong", probes.Possible},
		{mismatch, nil, "clock-behind clock-ahead signature-mismatch signing-scope-wrong", probes.Possible},
	} {
		a := &Answer{Status: 403, Who: RESTAPI, ErrorType: "InvalidSignatureException", Message: tt.message, Skew: tt.skew, Signed: &Signature{}}
		match(a).enter(a, situation{&probes.Target{Settings: &probes.Settings{}}, probes.ViaPrivateDNS, netip.Addr{}, a})
		if got := strings.Join(a.Causes, " "); got != tt.want || a.Certainty != tt.sure {
			t.Errorf("%q, skew %v: %s %v, want %s %v", tt.message, tt.skew, got, a.Certainty, tt.want, tt.sure)
		}
	}
}

// The first line that differs from what was signed is named, unless a secret
// stands in it.
func TestDiffers(t *testing.T) {
	t.Parallel()
	k := &call{region: "eu-west-1", signedAt: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)}
	k.credentials.AccessKeyID, k.credentials.SecretAccessKey, k.credentials.SessionToken = "AKIDEXAMPLE", "wJalr", "session-token-1"
	k.secrets = []string{"session-token-1"}
	r, err := http.NewRequest("GET", "https://api.test/prod/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	k.request = r
	if err := k.sign(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	ours := k.canonicalRequest()
	if !strings.HasPrefix(ours, "GET\n/prod/health\n\nhost:api.test\n") {
		t.Fatalf("the canonical request is %q", ours)
	}
	body := func(canonical string) []byte {
		return []byte(`{"message":` + quote("The request signature we calculated does not match the signature you provided.\n\nThe Canonical String for this request should have been\n'"+canonical+"'\n\nThe String-to-Sign should have been\n'x'\n") + `}`)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"", "", ""},
		{"host:api.test", "host:other.test", `line 4 of the canonical request: the gateway saw "host:other.test" where "host:api.test" was signed`},
		{"/prod/health", "/prod//health", `line 2 of the canonical request: the gateway saw "/prod//health" where "/prod/health" was signed`},
		{"session-token-1", "other-token", `line 6 of the canonical request: the gateway saw "x-amz-security-token:[redacted]" where "x-amz-security-token:[redacted]" was signed`},
	} {
		if got := k.differs(body(strings.Replace(ours, tt.old, tt.new, 1))); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if got := k.differs([]byte(`{"message":"The request signature we calculated does not match"}`)); got != "" {
		t.Errorf("without an echo: %s", got)
	}
}

// A step whose lower step did not end well is skipped, and one whose
// connection is gone makes its own.
func TestProbe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, says(gatewayAnswer("200 OK", "", "{}")))
	p := &probe{w.client(t)}
	seen := probes.Evidence{Target: w.target, Lanes: []probes.Lane{w.lane}}
	line := &probes.Line{Lane: w.lane}
	if o := p.Probe(context.Background(), seen, line)[0]; o.Outcome != probes.Skipped {
		t.Errorf("without a handshake: %s", o.Outcome)
	}
	shaken := probes.Observation{Via: w.lane.Via, Addr: w.lane.Addr, Outcome: probes.OK, Detail: &handshake.Detail{}}
	seen = seen.With("handshake", []probes.Observation{shaken})
	if o := p.Probe(context.Background(), seen, line)[0]; o.Outcome != probes.OK || line.Conn == nil {
		t.Errorf("on its own connection: %s, %v", o.Outcome, o.Err)
	}
	line.Close()

	conn, _ := connect.Dial(context.Background(), &net.Dialer{}, w.lane)
	conn, o := p.shaker.Shake(context.Background(), conn, w.lane, handshake.Variant{})
	if conn == nil {
		t.Fatal(o.Err)
	}
	line.Conn = conn
	if o := p.Probe(context.Background(), seen, line)[0]; o.Outcome != probes.OK {
		t.Errorf("on the carried connection: %s, %v", o.Outcome, o.Err)
	}
	line.Close()

	gone := *line
	gone.Addr = refusing(t)
	shaken.Addr = gone.Addr
	seen = seen.With("handshake", []probes.Observation{shaken})
	if o := p.Probe(context.Background(), seen, &gone)[0]; o.Outcome != probes.Refused {
		t.Errorf("nobody listens any more: %s", o.Outcome)
	}
}

// When the agent stops, what is under way says nothing about the target.
func TestAborted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wait)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if o := w.client(t).Call(ctx, w.lane, Request{}); o.Outcome != probes.Aborted {
		t.Errorf("%s, %v", o.Outcome, o.Err)
	}
}

// Of a long body the beginning is matched, and the error says so.
func TestBodyBound(t *testing.T) {
	e, err := newExpectation(&probes.Target{Settings: &probes.Settings{Expect: probes.Expect{Body: "end"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		before int
		after  string
		want   string
	}{
		{maxKept - 3, "end", "<nil>"},
		{maxKept, "end", "the first 64 KiB of the body do not match expect.body (end)"},
		{maxKept, "", "the body does not match expect.body (end)"},
	} {
		r := new(reply)
		r.keep(make([]byte, tt.before))
		r.keep([]byte(tt.after))
		if got := fmt.Sprint(e.checkBody(r)); got != tt.want {
			t.Errorf("%d bytes and %q: %s, want %s", tt.before, tt.after, got, tt.want)
		}
	}
}
