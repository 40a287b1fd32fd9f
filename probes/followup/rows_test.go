package followup_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpcprobe/probes"
	"vpcprobe/probes/followup"
	"vpcprobe/probes/invoke"
)

// A saved answer, as curl -v prints it.
type savedAnswer struct {
	host      string   // api by default
	path      string   // /prod/health by default
	request   []string // further headers sent
	status    int      // 403 by default
	errorType string
	header    []string // further headers; those of API Gateway unless foreign
	foreign   bool
	body      string
}

const (
	api      = "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com"
	endpoint = "vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com"
	domain   = "api.example.com"
	method   = "arn:aws:execute-api:eu-west-1:********3333:a1b2c3d4e5/prod/GET/health"
	role     = "arn:aws:sts::111122223333:assumed-role/prober/i-0"
)

func (s savedAnswer) String() string {
	or := func(v, otherwise string) string {
		if v != "" {
			return v
		}
		return otherwise
	}
	var b strings.Builder
	fmt.Fprintf(&b, "> GET %s HTTP/1.1\n> Host: %s\n> User-Agent: curl/8.5.0\n", or(s.path, "/prod/health"), or(s.host, api))
	for _, h := range s.request {
		fmt.Fprintf(&b, "> %s\n", h)
	}
	status := s.status
	if status == 0 {
		status = 403
	}
	fmt.Fprintf(&b, "> \n< HTTP/1.1 %d X\n", status)
	if !s.foreign {
		b.WriteString("< x-amzn-RequestId: 5f9c1d2e-0000-4000-8000-000000000001\n< x-amz-apigw-id: Abc=\n")
	}
	if s.errorType != "" {
		fmt.Fprintf(&b, "< x-amzn-ErrorType: %s\n", s.errorType)
	}
	for _, h := range s.header {
		fmt.Fprintf(&b, "< %s\n", h)
	}
	return b.String() + "< \n" + s.body
}

// forms are the ways in which the same answer is saved: by HTTP/1.1 and by
// HTTP/2, with the message under a key of either case, with a carriage return
// at the ends of lines, and with what curl 8 says before, between and after.
func (s savedAnswer) forms() []string {
	text := s.String()
	other := strings.NewReplacer(`{"message":`, `{"Message":`, `{"Message":`, `{"message":`).Replace(text)
	head, body, _ := strings.Cut(text, "< \n")
	remarks := "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n                                 Dload  Upload   Total   Spent    Left  Speed\n" +
		"* Host api.example.com:443 was resolved.\n* IPv6: (none)\n* IPv4: 198.51.100.7\n*   Trying 198.51.100.7:443...\n* Connected to api.example.com (198.51.100.7) port 443\n" +
		"* ALPN: curl offers h2,http/1.1\n* SSL connection using TLSv1.2 / ECDHE-RSA-AES128-GCM-SHA256 / secp256r1 / RSASSA-PSS\n* ALPN: server accepted h2\n* using HTTP/2\n" +
		"* [HTTP/2] [1] OPENED stream for https://api.example.com/\n"
	const none, all = "\r  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0", "\r100    23  100    23    0     0     99      0 --:--:-- --:--:-- --:--:--    99"
	h2 := remarks + none + inHTTP2(head) + "< \n{ [23 bytes data]\n"
	const bye = "* Connection #0 to host api.example.com left intact\n"
	return []string{text, other, strings.ReplaceAll(text, "\n", "\r\n"),
		h2 + body + all + "\n" + bye,
		h2 + all + "\n" + bye + body,
		h2 + all + body + bye,
		h2 + body + "\n" + all + all + "\n" + bye,
		inHTTP2(head) + "< \n" + body + "* Closing connection 0\n* TLSv1.2 (OUT), TLS alert, close notify (256):\n",
		inHTTP2(head) + "< \n" + bye + body + "me@host:~$ \n",
	}
}

// inHTTP2 is how curl shows the same by HTTP/2.
func inHTTP2(head string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(head, "HTTP/1.1", "HTTP/2")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(line, "< ") {
			line = strings.ToLower(name) + ":" + value
		}
		b.WriteString(line)
	}
	return b.String() + "* Request completely sent off\n"
}

func message(m string) string { return `{"message":` + quote(m) + `}` }
func upper(m string) string   { return `{"Message":` + quote(m) + `}` }
func quote(m string) string   { return `"` + strings.ReplaceAll(m, `"`, `\"`) + `"` }
func denied(who, why string) string {
	return upper("User: " + who + " is not authorized to perform: execute-api:Invoke on resource: " + method + why)
}

var signed = []string{"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261122/eu-west-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=abc"}

// Every row of the tables of answers, old texts and new, and what each means
// by itself, without any follow-up.
func TestEveryRow(t *testing.T) {
	t.Parallel()
	const access, forbidden, signature, partial = "AccessDeniedException", "ForbiddenException", "InvalidSignatureException", "IncompleteSignatureException"
	sure, open := probes.Certain, probes.Possible
	absent := []string{"method-not-found", "not-redeployed", "path-not-found"}
	for _, tt := range []struct {
		row    string
		answer savedAnswer
		sure   probes.Certainty
		want   []string
	}{
		{"A1 old", savedAnswer{errorType: access, body: upper("User is not authorized to access this resource with an explicit deny")}, sure, ids("authorizer-denies")},
		{"A1 new", savedAnswer{errorType: access, body: upper("User is not authorized to access this resource with an explicit deny in an identity-based policy")}, sure, ids("authorizer-denies")},
		{"A2 old", savedAnswer{errorType: access, body: upper("User is not authorized to access this resource")}, sure, ids("authorizer-policy-narrow")},
		{"A2 new", savedAnswer{errorType: access, body: upper("User is not authorized to access this resource because no identity-based policy allows the execute-api:Invoke action")}, sure, ids("authorizer-policy-narrow")},
		{"A3 old", savedAnswer{errorType: access, body: denied(role, " with an explicit deny")}, open, ids("identity-policy-denies", "resource-policy-denies", "endpoint-policy-denies", "organization-policy-denies")},
		{"A3 old, anonymous", savedAnswer{errorType: access, body: denied("anonymous", " with an explicit deny")}, open, ids("resource-policy-denies", "endpoint-policy-denies")},
		{"A3 new", savedAnswer{errorType: access, body: denied(role, " with an explicit deny in a resource-based policy")}, sure, ids("resource-policy-denies")},
		{"A3 new, identity", savedAnswer{errorType: access, body: denied(role, " with an explicit deny in an identity-based policy")}, sure, ids("identity-policy-denies")},
		{"A4 old", savedAnswer{errorType: access, body: denied("anonymous", "")}, open, ids("resource-policy-silent", "endpoint-policy-silent", "caller-anonymous")},
		{"A4 old, named", savedAnswer{errorType: access, body: denied(role, "")}, open, ids("identity-policy-silent", "resource-policy-silent", "endpoint-policy-silent", "organization-policy-denies")},
		{"A4 new", savedAnswer{errorType: access, body: denied("anonymous", " because no resource-based policy allows the execute-api:Invoke action")}, open, ids("resource-policy-silent", "caller-anonymous")},
		{"A4 new, named", savedAnswer{errorType: access, body: denied(role, " because no resource-based policy allows the execute-api:Invoke action")}, sure, ids("resource-policy-silent")},
		{"A5", savedAnswer{errorType: access, body: denied("anonymous", " because no VPC endpoint policy allows the execute-api:Invoke action")}, sure, ids("endpoint-policy-silent")},
		{"A6", savedAnswer{errorType: access, body: denied("anonymous", " with an explicit deny in a VPC endpoint policy")}, open, ids("endpoint-policy-denies")},
		{"A7", savedAnswer{errorType: access, body: denied(role, " because no identity-based policy allows the execute-api:Invoke action")}, sure, ids("identity-policy-silent")},
		{"A8 SCP silent", savedAnswer{errorType: access, body: denied(role, " because no service control policy allows the execute-api:Invoke action")}, sure, ids("organization-policy-denies")},
		{"A8 boundary silent", savedAnswer{errorType: access, body: denied(role, " because no permissions boundary allows the execute-api:Invoke action")}, sure, ids("organization-policy-denies")},
		{"A8 SCP denies, with its ARN", savedAnswer{errorType: access, body: denied(role, " with an explicit deny in a service control policy: arn:aws:organizations::111122223333:policy/o-1/service_control_policy/p-1")}, sure, ids("organization-policy-denies")},
		{"A8 RCP denies", savedAnswer{errorType: access, body: denied("anonymous", " with an explicit deny in a resource control policy")}, sure, ids("organization-policy-denies")},
		{"A8 session denies", savedAnswer{errorType: access, body: denied(role, " with an explicit deny in a session policy")}, sure, ids("organization-policy-denies")},
		{"A8 boundary denies", savedAnswer{errorType: access, body: denied(role, " with an explicit deny in a permissions boundary")}, sure, ids("organization-policy-denies")},
		{"A10 article", savedAnswer{errorType: access, request: signed, body: upper("The security token included in the request is invalid.")}, sure, ids("access-key-invalid")},
		{"A10 modern", savedAnswer{errorType: "UnrecognizedClientException", request: signed, body: message("The security token included in the request is invalid.")}, sure, ids("access-key-invalid")},
		{"A11", savedAnswer{errorType: "ExpiredTokenException", request: signed, body: message("The security token included in the request is expired")}, sure, ids("credentials-expired")},
		{"B, unsigned", savedAnswer{errorType: "MissingAuthenticationTokenException", body: message("Missing Authentication Token")}, open, slices.Concat(absent, ids("request-unsigned"))},
		{"B, signed", savedAnswer{errorType: "MissingAuthenticationTokenException", request: signed, body: message("Missing Authentication Token")}, open, absent},
		{"B4", savedAnswer{host: domain, path: "/prod/health", request: signed, errorType: "MissingAuthenticationTokenException", body: message("Missing Authentication Token")}, open, slices.Concat(absent, ids("stage-in-path"))},
		{"B, long error type", savedAnswer{errorType: "MissingAuthenticationTokenException:http://internal.amazon.com/coral/com.amazon.coral.service/", request: signed, body: message("Missing Authentication Token")}, open, absent},
		{"C1 article", savedAnswer{errorType: partial, body: message("Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=allow")}, open, slices.Concat(absent, ids("authorization-malformed"))},
		{"C1 bearer", savedAnswer{errorType: partial, body: message("'abc' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer abc'.")}, open, slices.Concat(absent, ids("authorization-malformed"))},
		{"C1 new", savedAnswer{errorType: partial, body: message("Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'q83v'")}, open, slices.Concat(absent, ids("authorization-malformed"))},
		{"C algorithm", savedAnswer{errorType: partial, body: message("Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'.")}, sure, ids("authorization-malformed")},
		{"D1", savedAnswer{errorType: signature, request: signed, body: message("Signature expired: 20180816T032046Z is now earlier than 20180816T040329Z (20180816T040829Z - 5 min.)")}, probes.Likely, ids("clock-behind")},
		{"D2", savedAnswer{errorType: signature, request: signed, body: message("Signature not yet current: 20180816T042046Z is still later than 20180816T041329Z (20180816T040829Z + 5 min.)")}, open, ids("clock-ahead")},
		{"D3", savedAnswer{errorType: signature, request: signed, body: message("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")}, sure, ids("signature-mismatch")},
		{"D4 region", savedAnswer{errorType: signature, request: signed, body: message("Credential should be scoped to a valid region. ")}, sure, ids("signing-scope-wrong")},
		{"D4 both", savedAnswer{errorType: signature, request: signed, body: message("Credential should be scoped to a valid region. Credential should be scoped to correct service: 'execute-api'. ")}, sure, ids("signing-scope-wrong")},
		{"D4 date", savedAnswer{errorType: signature, request: signed, body: message("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20180815' != '20180816', from '20180816T000001Z'.")}, sure, ids("authorization-malformed")},
		{"F1 article", savedAnswer{errorType: forbidden, body: message("Invalid API Key identifier specified")}, sure, ids("api-key-rejected")},
		{"F by the API's name", savedAnswer{errorType: forbidden, body: message("Forbidden")}, open, ids("api-key-rejected", "waf-blocked", "host-not-recognized", "default-endpoint-disabled", "stage-not-found", "public-api-captured", "api-not-found")},
		{"F by the API's name, with a token", savedAnswer{request: []string{"Authorization: Bearer eyJhbGciOiJub25lIn0"}, errorType: forbidden, body: message("Forbidden")}, open, ids("api-key-rejected", "waf-blocked", "host-not-recognized", "default-endpoint-disabled", "stage-not-found", "public-api-captured", "api-not-found", "authorizer-denies")},
		{"F by the API's name, signed", savedAnswer{request: signed, errorType: forbidden, body: message("Forbidden")}, open, ids("api-key-rejected", "waf-blocked", "host-not-recognized", "default-endpoint-disabled", "stage-not-found", "public-api-captured", "api-not-found")},
		{"F by the endpoint's name", savedAnswer{host: endpoint, request: []string{"x-apigw-api-id: a1b2c3d4e5"}, errorType: forbidden, body: message("Forbidden")}, open, ids("api-key-rejected", "waf-blocked", "host-not-recognized", "strict-endpoint-access", "default-endpoint-disabled", "stage-not-found", "public-api-captured", "api-not-found")},
		{"F3, nothing names the API", savedAnswer{host: endpoint, errorType: forbidden, body: message("Forbidden")}, sure, ids("host-not-recognized")},
		{"F by a domain", savedAnswer{host: domain, path: "/health", errorType: forbidden, body: message("Forbidden")}, open, ids("api-key-rejected", "waf-blocked", "client-cert-distrusted", "host-not-recognized", "base-path-unmapped", "domain-not-associated")},
		{"G1", savedAnswer{body: `{"error":"no"}`}, probes.Likely, ids("backend-denied")},
		{"G1 in the gateway's words", savedAnswer{body: message("Forbidden")}, probes.Likely, ids("backend-denied")},
		{"function URL", savedAnswer{foreign: true, body: upper("Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html")}, sure, ids("not-api-gateway")},
		{"202", savedAnswer{status: 202, header: []string{"x-amzn-waf-action: challenge"}}, sure, ids("waf-challenge")},
		{"405", savedAnswer{status: 405, header: []string{"x-amzn-waf-action: captcha"}}, sure, ids("waf-challenge")},
		{"400", savedAnswer{status: 400, errorType: "BadRequestException", body: message("Missing required request parameters: [x]")}, sure, ids("request-invalid")},
		{"401", savedAnswer{status: 401, errorType: "UnauthorizedException", body: message("Unauthorized")}, sure, ids("authorizer-unauthorized")},
		{"404 of an HTTP API", savedAnswer{status: 404, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: message("Not Found")}, open, append(absent, "stage-in-path")},
		{"403 of an HTTP API", savedAnswer{host: domain, path: "/x", foreign: true, header: []string{"apigw-requestid: AbC="}, body: message("Forbidden")}, open, ids("authorizer-denies", "client-cert-distrusted", "base-path-unmapped", "request-unsigned", "identity-policy-silent", "identity-policy-denies", "access-key-invalid", "signature-mismatch", "backend-denied")},
		{"401 of an HTTP API", savedAnswer{status: 401, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: message("Unauthorized")}, open, ids("authorizer-unauthorized", "backend-denied")},
		{"401 of what an HTTP API calls", savedAnswer{status: 401, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: `{"error":"log in"}`}, probes.Likely, ids("backend-denied")},
		{"403 of what an HTTP API calls", savedAnswer{host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: `{"error":"no"}`}, probes.Likely, ids("backend-denied")},
		{"429 of an HTTP API", savedAnswer{status: 429, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: message("Too Many Requests")}, probes.Likely, ids("throttled")},
		{"429 of what an HTTP API calls", savedAnswer{status: 429, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: `{"error":"slow down"}`}, sure, ids("status-unexpected")},
		{"500 of an HTTP API", savedAnswer{status: 500, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: message("Internal Server Error")}, open, ids("integration-failed", "backend-error")},
		{"503 of an HTTP API", savedAnswer{status: 503, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: message("Service Unavailable")}, open, ids("integration-failed", "backend-error")},
		{"500 of what an HTTP API calls", savedAnswer{status: 500, host: domain, foreign: true, header: []string{"apigw-requestid: AbC="}, body: `{"error":"database"}`}, probes.Likely, ids("backend-error")},
		{"415 of the backend", savedAnswer{status: 415, body: `{"error":"x"}`}, sure, ids("status-unexpected")},
		{"F by a load balancer before the endpoint", savedAnswer{host: domain, request: []string{"x-apigw-api-id: a1b2c3d4e5"}, errorType: forbidden, body: message("Forbidden")}, open,
			ids("api-key-rejected", "waf-blocked", "client-cert-distrusted", "host-not-recognized", "strict-endpoint-access", "default-endpoint-disabled", "stage-not-found", "public-api-captured", "api-not-found")},
		{"200 of the gateway's own", savedAnswer{status: 200, errorType: forbidden, body: message("Forbidden")}, open, ids("api-key-rejected", "waf-blocked", "host-not-recognized", "default-endpoint-disabled", "stage-not-found", "public-api-captured", "api-not-found")},
		{"413", savedAnswer{status: 413, errorType: "RequestTooLargeException", body: message("HTTP content length exceeded 10485760 bytes")}, open, ids("request-invalid")},
		{"415", savedAnswer{status: 415, errorType: "UnsupportedMediaTypeException", body: message("Unsupported Media Type")}, open, ids("request-invalid")},
		{"429 rate", savedAnswer{status: 429, errorType: "TooManyRequestsException", body: message("Too Many Requests")}, sure, ids("throttled")},
		{"429 quota", savedAnswer{status: 429, errorType: "LimitExceededException", body: message("Limit Exceeded")}, sure, ids("quota-exceeded")},
		{"500", savedAnswer{status: 500, errorType: "InternalServerErrorException", body: `{"message": "Internal server error"}`}, probes.Likely, ids("integration-failed")},
		{"500 WAF", savedAnswer{status: 500, errorType: "InternalServerErrorException", body: message("There was an error evaluating the AWS WAF rules associated with this API")}, sure, ids("waf-failed")},
		{"500 authorizer", savedAnswer{status: 500, errorType: "AuthorizerConfigurationException", body: `{"message":null}`}, open, ids("authorizer-failed")},
		{"502", savedAnswer{status: 502, errorType: "InternalServerErrorException", body: `{"message": "Internal server error"}`}, sure, ids("integration-failed")},
		{"503", savedAnswer{status: 503, body: message("Service Unavailable")}, probes.Likely, ids("backend-error")},
		{"504 timeout", savedAnswer{status: 504, errorType: "InternalServerErrorException", body: `{"message": "Endpoint request timed out"}`}, sure, ids("integration-timeout")},
		{"504 network", savedAnswer{status: 504, errorType: "InternalServerErrorException", body: `{"message": "Network error communicating with endpoint"}`}, sure, ids("integration-failed")},
		{"a load balancer", savedAnswer{status: 503, foreign: true, header: []string{"server: awselb/2.0"}, body: "<html>"}, probes.Likely, ids("not-api-gateway")},
		{"CloudFront", savedAnswer{foreign: true, header: []string{"x-cache: Error from cloudfront", "via: 1.1 x.cloudfront.net (CloudFront)", "x-amz-cf-id: abc"}, body: "<html>"}, probes.Likely, ids("not-api-gateway")},
		{"a captive portal", savedAnswer{status: 511, foreign: true, body: "<html>log in"}, open, ids("not-api-gateway", "proxy-in-the-way")},
		{"a proxy", savedAnswer{foreign: true, header: []string{"via: 1.1 proxy.corp (squid/6)"}, body: "<html>"}, probes.Likely, ids("proxy-in-the-way")},
		{"a proxy that wants a password", savedAnswer{status: 407, foreign: true, header: []string{"proxy-authenticate: Basic"}}, probes.Likely, ids("proxy-in-the-way")},
		{"a web server of which nothing is known", savedAnswer{status: 404, host: domain, foreign: true, header: []string{"server: nginx/1.24.0"}, body: "<html>"}, sure, ids("status-unexpected")},
		{"a web server that fails", savedAnswer{status: 500, host: domain, foreign: true, header: []string{"server: nginx/1.24.0"}, body: "<html>"}, sure, ids("status-unexpected")},
		{"a web server behind a reverse proxy", savedAnswer{status: 500, host: domain, foreign: true, header: []string{"via: 1.1 varnish", "server: envoy"}, body: "<html>"}, sure, ids("status-unexpected")},
		{"a forward proxy before a web server", savedAnswer{host: domain, foreign: true, header: []string{"x-squid-error: ERR_ACCESS_DENIED 0", "via: 1.1 proxy.corp (squid/6)"}, body: "<html>"}, probes.Likely, ids("proxy-in-the-way")},
		{"a web server, not an API", savedAnswer{status: 404, foreign: true, header: []string{"server: nginx/1.24.0"}, body: "<html>"}, open, ids("not-api-gateway", "proxy-in-the-way")},
		{"nothing known", savedAnswer{status: 418, body: "teapot"}, sure, ids("status-unexpected")},
		{"well", savedAnswer{status: 200, body: "{}"}, probes.No, nil},

		// Customized gateway responses: what is left is known with less certainty.
		{"A, body customized", savedAnswer{errorType: access, body: `{"e":"no"}`}, open, ids("resource-policy-silent", "resource-policy-denies", "endpoint-policy-silent", "endpoint-policy-denies", "identity-policy-silent", "identity-policy-denies", "organization-policy-denies", "authorizer-denies", "authorizer-policy-narrow", "caller-anonymous", "access-key-invalid")},
		{"B, body customized", savedAnswer{errorType: "MissingAuthenticationTokenException", request: signed, status: 404, body: `{"e":"no"}`}, open, absent},
		{"D, body customized", savedAnswer{errorType: signature, request: signed, body: "x"}, open, ids("clock-ahead", "clock-behind", "signature-mismatch", "signing-scope-wrong")},
		{"F, body customized", savedAnswer{host: domain, path: "/health", errorType: forbidden, body: "go away"}, open, ids("api-key-rejected", "waf-blocked", "client-cert-distrusted", "host-not-recognized", "base-path-unmapped", "domain-not-associated")},
		{"429 rate, status customized", savedAnswer{status: 503, errorType: "TooManyRequestsException", body: message("Too Many Requests")}, sure, ids("throttled")},
		{"429 quota, status customized", savedAnswer{status: 403, errorType: "LimitExceededException", body: "x"}, sure, ids("quota-exceeded")},
		{"400, status customized", savedAnswer{status: 422, errorType: "BadRequestException", body: `{"e":"no"}`}, sure, ids("request-invalid")},
		{"500 authorizer, status customized", savedAnswer{status: 503, errorType: "AuthorizerConfigurationException", body: "x"}, open, ids("authorizer-failed")},
		{"504 timeout, status customized", savedAnswer{status: 503, errorType: "InternalServerErrorException", body: `{"message": "Endpoint request timed out"}`}, sure, ids("integration-timeout")},
		{"504, all customized", savedAnswer{status: 503, errorType: "InternalServerErrorException", body: "x"}, open, ids("authorizer-failed", "integration-failed", "integration-timeout")},
		{"401, customized to a redirect to log in", savedAnswer{status: 302, errorType: "UnauthorizedException", header: []string{"location: https://login.example.com/"}, body: "x"}, probes.Likely, ids("authorizer-unauthorized")},
		{"F, customized to a redirect", savedAnswer{host: domain, path: "/health", status: 302, errorType: forbidden, body: "x"}, open, ids("api-key-rejected", "waf-blocked", "client-cert-distrusted", "host-not-recognized", "base-path-unmapped", "domain-not-associated")},
		{"a redirect of the backend's", savedAnswer{status: 302, header: []string{"location: https://login.example.com/"}, body: "x"}, sure, ids("status-unexpected")},
		{"401, body customized", savedAnswer{status: 401, errorType: "UnauthorizedException", body: "x"}, probes.Likely, ids("authorizer-unauthorized")},
		{"A5 without its error type", savedAnswer{body: denied("anonymous", " because no VPC endpoint policy allows the execute-api:Invoke action")}, probes.Likely, ids("endpoint-policy-silent")},
		{"A5 under another error type", savedAnswer{errorType: "NewException", body: denied("anonymous", " because no VPC endpoint policy allows the execute-api:Invoke action")}, probes.Likely, ids("endpoint-policy-silent")},
		{"everything customized", savedAnswer{body: `{"e":"no"}`}, probes.Likely, ids("backend-denied")},
	} {
		t.Run(tt.row, func(t *testing.T) {
			t.Parallel()
			slices.Sort(tt.want)
			for _, text := range tt.answer.forms() {
				answers, err := invoke.ParseSaved(strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				found := followup.Explain(answers)
				want := slices.Clone(tt.want)
				if strings.Contains(text, "(198.51.100.7)") { // at a public address there is no endpoint
					want = slices.DeleteFunc(want, func(id string) bool { return id == "domain-not-associated" })
				}
				if got := idsOf(found); !slices.Equal(got, want) {
					t.Fatalf("got  %v\nwant %v of\n%s", got, want, text)
				}
				for _, f := range found {
					if f.Certainty != tt.sure {
						t.Errorf("%s is %v, want %v of\n%s", f.Rule.ID, f.Certainty, tt.sure, text)
					}
				}
			}
		})
	}
}

func ids(all ...string) []string { return all }
