package invoke

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"vpcprobe/probes"
)

// The bounds on foreign text in an answer, in runes.
const (
	maxMessage = 600
	maxExcerpt = 300
	maxHeader  = 120
)

// fill enters what a reply says.
func fill(a *Answer, r *reply, secrets []string) {
	scrub := func(s string, limit int) string { return probes.Scrub(s, limit, secrets...) }
	a.Status, a.Protocol, a.Size = r.status, r.proto, r.size
	a.ErrorType = scrub(errorType(r.header), maxHeader)
	a.WAFAction = scrub(r.header.Get("X-Amzn-Waf-Action"), maxHeader)
	a.Server = scrub(r.header.Get("Server"), maxHeader)
	a.RequestID = scrub(first(r.header, "X-Amzn-Requestid", "Apigw-Requestid", "X-Amz-Cf-Id"), maxHeader)
	a.ExtendedRequestID = scrub(r.header.Get("X-Amz-Apigw-Id"), maxHeader)
	message := message(r.body)
	a.Message = scrub(message, maxMessage)
	a.Who = who(r, message)
	if a.Who == Proxy && a.Host != "" && !a.direct && !forwards(r.status, r.header, strings.ToLower(a.Server)) {
		a.Who = Unknown // the reverse proxies that a domain may have show themselves, too
	}
	if message == "" && (r.status < 200 || r.status >= 300) {
		a.Body = excerptOf(r, secrets)
	}
}

// longest is the length beyond which nothing is taken for a secret.
const longest = 4096

// excerptOf is how the body begins. It is scrubbed as a whole before it is
// cut: half a secret is not recognized as one.
func excerptOf(r *reply, secrets []string) string {
	body := r.body
	if r.size > int64(len(body)) {
		body = body[:max(0, len(body)-longest)]
	}
	return probes.Scrub(string(body), maxExcerpt, secrets...)
}

func first(h http.Header, names ...string) string {
	for _, name := range names {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return ""
}

// errorType is x-amzn-errortype without the URL that once followed it.
func errorType(h http.Header) string {
	t, _, _ := strings.Cut(h.Get("X-Amzn-Errortype"), ":")
	return strings.TrimSpace(t)
}

// message is what a JSON body says under "message" or "Message": gateway
// responses use the one, the authorization engine the other.
func message(body []byte) string {
	var b struct {
		Message any `json:"message"` // encoding/json does not mind the case
	}
	if json.NewDecoder(bytes.NewReader(body)).Decode(&b) != nil {
		return ""
	}
	s, _ := b.Message.(string)
	return strings.TrimSpace(s)
}

// who decides who answered.
func who(r *reply, message string) Who {
	h := r.header
	gateway := h.Get("X-Amz-Apigw-Id") != "" || h.Get("X-Amzn-Requestid") != ""
	server := strings.ToLower(h.Get("Server"))
	switch {
	case strings.Contains(message, "For troubleshooting Function URL"):
		return FunctionURL
	case gateway && r.status >= 400 && errorType(h) == "" && !gatewayWords(message) && h.Get("X-Amzn-Waf-Action") == "":
		return Backend // or a gateway response customized beyond recognition
	case gateway, errorType(h) != "":
		return RESTAPI
	case h.Get("Apigw-Requestid") != "":
		return HTTPAPI
	case h.Get("X-Amz-Cf-Id") != "":
		return CloudFront
	case strings.HasPrefix(server, "awselb/"):
		return LoadBalancer
	case isProxy(r.status, h, server):
		return Proxy
	}
	return Unknown
}

// generic are messages that backends use as well as API Gateway does.
var generic = re(`(?i)^(Forbidden|Unauthorized|Not Found|Internal server error)$`)

// gatewayWords reports whether a message is API Gateway's own even without an
// error type.
func gatewayWords(message string) bool {
	if generic().MatchString(message) {
		return false
	}
	for i := range denials {
		if d := &denials[i]; d.message != nil && d.message().MatchString(message) {
			return true
		}
	}
	return false
}

// isProxy reports whether a forward proxy or a firewall shows itself. Where
// callers reach API Gateway directly, there is no other proxy.
func isProxy(status int, h http.Header, server string) bool {
	return forwards(status, h, server) || strings.Contains(server, "proxy") ||
		h.Get("Via") != "" && !strings.Contains(strings.ToLower(h.Get("Via")), "cloudfront")
}

// forwards reports whether it is a forward proxy for sure.
func forwards(status int, h http.Header, server string) bool {
	if status == http.StatusProxyAuthRequired || h.Get("Proxy-Authenticate") != "" || h.Get("Proxy-Connection") != "" || h.Get("X-Squid-Error") != "" || h.Get("Proxy-Agent") != "" {
		return true
	}
	for _, name := range []string{"squid", "zscaler", "bluecoat", "fortigate", "forcepoint", "mcafee", "tinyproxy", "envoy-egress"} {
		if strings.Contains(server, name) {
			return true
		}
	}
	return false
}
