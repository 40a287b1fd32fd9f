package apigateway

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A ResponseType is one of API Gateway's gateway response types (Developer
// Guide, supported-gateway-response-types).
type ResponseType string

// The gateway response types.
const (
	AccessDenied                 ResponseType = "ACCESS_DENIED"
	APIConfigurationError        ResponseType = "API_CONFIGURATION_ERROR"
	AuthorizerConfigurationError ResponseType = "AUTHORIZER_CONFIGURATION_ERROR"
	AuthorizerFailure            ResponseType = "AUTHORIZER_FAILURE"
	BadRequestParameters         ResponseType = "BAD_REQUEST_PARAMETERS"
	BadRequestBody               ResponseType = "BAD_REQUEST_BODY"
	Default4XX                   ResponseType = "DEFAULT_4XX"
	Default5XX                   ResponseType = "DEFAULT_5XX"
	ExpiredToken                 ResponseType = "EXPIRED_TOKEN"
	IntegrationFailure           ResponseType = "INTEGRATION_FAILURE"
	IntegrationTimeout           ResponseType = "INTEGRATION_TIMEOUT"
	InvalidAPIKey                ResponseType = "INVALID_API_KEY"
	InvalidSignature             ResponseType = "INVALID_SIGNATURE"
	MissingAuthenticationToken   ResponseType = "MISSING_AUTHENTICATION_TOKEN"
	QuotaExceeded                ResponseType = "QUOTA_EXCEEDED"
	RequestTooLarge              ResponseType = "REQUEST_TOO_LARGE"
	ResourceNotFound             ResponseType = "RESOURCE_NOT_FOUND"
	ThrottledResponse            ResponseType = "THROTTLED"
	UnauthorizedResponse         ResponseType = "UNAUTHORIZED"
	UnsupportedMediaType         ResponseType = "UNSUPPORTED_MEDIA_TYPE"
	WAFFiltered                  ResponseType = "WAF_FILTERED"
)

// The errors that x-amzn-ErrorType names.
const (
	errAccessDenied  = "AccessDeniedException"
	errForbidden     = "ForbiddenException"
	errMissingToken  = "MissingAuthenticationTokenException"
	errIncomplete    = "IncompleteSignatureException"
	errSignature     = "InvalidSignatureException"
	errUnknownClient = "UnrecognizedClientException"
	errExpiredToken  = "ExpiredTokenException"
	errInternal      = "InternalServerErrorException"
)

// An answer is a reply before it is written.
type answer struct {
	row       string       // of FACTS.md
	status    int          // the HTTP status
	errorType string       // x-amzn-ErrorType, if any
	response  ResponseType // the gateway response that may customize it, if any
	message   string       // what the default body says
	key       string       // the key of message in the default body: "message" unless set
	body      string       // the whole body, where it is not made of message
	bare      bool         // no body at all, whatever message says
	header    http.Header  // further headers
	delay     time.Duration
	reason    string // what the execution log would say
}

// forbidden is what at least eleven causes look like: 23 bytes that name none.
func forbidden(row string) *answer {
	return &answer{row: row, status: http.StatusForbidden, errorType: errForbidden, message: "Forbidden"}
}

// missingToken answers B1 to B5: {"message":"Missing Authentication Token"}.
func missingToken(row string) *answer {
	return &answer{
		row: row, status: http.StatusForbidden, errorType: errMissingToken,
		response: MissingAuthenticationToken, message: "Missing Authentication Token",
	}
}

// unauthorized answers an authorizer's 401 of section 1.3.
func unauthorized() *answer {
	return &answer{
		row: "401", status: http.StatusUnauthorized, errorType: "UnauthorizedException",
		response: UnauthorizedResponse, message: "Unauthorized",
	}
}

// internalError answers the 5xx of section 1.3, whose bodies have a space.
func internalError(status int, response ResponseType, message string) *answer {
	return &answer{
		row: strconv.Itoa(status), status: status, errorType: errInternal, response: response,
		message: message, body: `{"message": "` + message + `"}`,
	}
}

// modelError says that the model itself is misconfigured. It looks like
// nothing that API Gateway sends, so that no test mistakes it for an answer.
func modelError(err error) *answer {
	return &answer{
		row: "model", status: 599, body: "apigateway model: " + err.Error() + "\n",
		header: http.Header{"Content-Type": {"text/plain"}},
	}
}

// customize applies the stage's customized gateway response, if it has one.
func (c *call) customize(a *answer) {
	custom, ok := c.customResponse(a)
	if !ok {
		return
	}
	if custom.Status != 0 {
		a.status = custom.Status
	}
	if custom.Body != "" {
		a.body, a.bare = c.expand(custom.Body, a), false
	}
	if custom.HideErrorType {
		a.errorType = ""
	}
	a.header = merge(a.header, custom.Header)
}

// customResponse finds the response for an answer: its type's own, else the
// default of its class. REQUEST_TOO_LARGE cannot be customized (Developer
// Guide).
func (c *call) customResponse(a *answer) (GatewayResponse, bool) {
	if c.stage == nil || a.response == "" || a.response == RequestTooLarge {
		return GatewayResponse{}, false
	}
	if own, ok := c.stage.Responses[a.response]; ok {
		return own, true
	}
	class := Default4XX
	if a.status >= 500 {
		class = Default5XX
	}
	byClass, ok := c.stage.Responses[class]
	return byClass, ok
}

func (c *call) expand(template string, a *answer) string {
	return strings.NewReplacer(
		"$context.error.messageString", quote(a.message),
		"$context.error.message", a.message,
		"$context.error.responseType", string(a.response),
		"$context.requestId", c.id,
	).Replace(template)
}

func merge(into, from http.Header) http.Header {
	if into == nil {
		into = http.Header{}
	}
	maps.Copy(into, from)
	return into
}

// text is the body, as it stands after customization.
func (a *answer) text() string {
	switch {
	case a.bare:
		return ""
	case a.body != "" || a.message == "":
		return a.body
	case a.key != "":
		return `{"` + a.key + `":` + quote(a.message) + `}`
	}
	return `{"message":` + quote(a.message) + `}`
}

// write sends the answer. Header names keep the case seen on the wire, which
// is why they are set without Header.Set.
func (c *call) write(w http.ResponseWriter, a *answer) {
	body := a.text()
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Date"] = []string{c.now.UTC().Format(http.TimeFormat)}
	c.identify(h)
	if a.errorType != "" && !c.overHTTP() {
		h["x-amzn-ErrorType"] = []string{a.errorType}
	}
	for name, values := range a.header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(a.status)
	if c.r.Method != http.MethodHead {
		io.WriteString(w, body) // the client may be gone: nothing to do about it
	}
}

// identify sets the headers that tell who answered (section 1.1).
func (c *call) identify(h http.Header) {
	if c.overHTTP() {
		h["apigw-requestid"] = []string{c.id}
		return
	}
	h["x-amzn-RequestId"] = []string{c.id}
	h["x-amz-apigw-id"] = []string{extendedID()}
	if c.conn.EndpointID != "" {
		h["Server"] = []string{"Server"} // seen on private APIs only
	}
}

func (c *call) overHTTP() bool { return c.api != nil && c.api.HTTP }

// quote returns s as a JSON string, with only what must be escaped.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string can always be encoded, and a buffer written
	return strings.TrimSuffix(b.String(), "\n")
}

// requestID returns a UUID, as in x-amzn-RequestId.
func requestID() string {
	b := random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// extendedID returns something of the shape of x-amz-apigw-id.
func extendedID() string { return base64.URLEncoding.EncodeToString(random(11)) }

// traceID returns something of the shape of X-Amzn-Trace-Id.
func traceID(now time.Time) string {
	return fmt.Sprintf("Root=1-%08x-%s", uint32(now.Unix()), hex.EncodeToString(random(12)))
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, by its contract
	return b
}
