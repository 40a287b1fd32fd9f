package apigateway

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxBody is the payload quota in bytes.
const maxBody = 10485760

// A call is one request on its way through the gateway.
type call struct {
	state *State
	conn  Conn
	r     *http.Request
	now   time.Time
	id    string
	host  string // the Host header: lower case, without port and final dot
	body  []byte
	large bool // the body exceeds maxBody

	apiID     string
	api       *API
	domain    *Domain
	domainARN string // of a private domain
	stageName string
	stage     *Stage
	path      string // below the stage or base path, as sent, with its leading slash
	pathKnown bool   // the deployed tree has the path, though maybe not the method
	method    *Method

	identified bool // the next two are known
	principal  *Principal
	signature  *answer // what is wrong with the signature
	signedBy   string
}

func newCall(s *State, conn Conn, r *http.Request) *call {
	c := &call{state: s, conn: conn, r: r, now: s.now(), id: requestID(), host: bareHost(r.Host)}
	if r.Body == nil {
		return c
	}
	// A body cut short leaves a payload that no signature fits, as on AWS.
	c.body, _ = io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	c.large = len(c.body) > maxBody
	return c
}

func bareHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// answer finds the answer: each step either answers or lets the request pass.
// The order is the one that FACTS.md 1.4 assumes.
func (c *call) answer() *answer {
	a := first(c.route, c.strict, c.defaultEndpoint, c.mapStage, c.mutualTLS, c.size)
	switch {
	case a != nil:
	case c.api.HTTP:
		a = c.answerHTTP()
	default:
		a = first(c.association, c.endpointPolicy, c.firewall, c.domainPolicy, c.authorize,
			c.match, c.apiKey, c.throttle, c.validate, c.integrate)
	}
	c.customize(a)
	return a
}

// first returns the first answer that a step gives, or nil.
func first(steps ...func() *answer) *answer {
	for _, step := range steps {
		if a := step(); a != nil {
			return a
		}
	}
	return nil
}

// request is what is remembered of the call.
func (c *call) request(a *answer) Request {
	return Request{
		At: c.now, Method: c.r.Method, Target: c.target(), Host: c.r.Host, UserAgent: c.r.UserAgent(),
		ServerName: c.conn.ServerName, EndpointID: c.conn.EndpointID,
		SignedBy: c.signedBy, APIKey: c.r.Header.Get("x-api-key") != "",
		API: c.apiID, Stage: c.stageName, Row: a.row, Status: a.status, Reason: a.reason, ID: c.id,
	}
}

// sentPath is the path as it stands in the request line.
func sentPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(path, "/") {
		return path
	}
	return r.URL.EscapedPath() // no request line: a test's request, or one in absolute form
}

// target is the request's path and query, without a presigned URL's secrets.
func (c *call) target() string {
	if c.r.URL.Query().Has("X-Amz-Signature") {
		return sentPath(c.r) + "?[presigned]"
	}
	return c.r.URL.RequestURI()
}

// maxARN is the longest method ARN in bytes.
const maxARN = 1600

// size answers 414 and 413 of section 1.3. Nothing can customize 413; its
// error type, and all of 414 but the status, are UNVERIFIED.
func (c *call) size() *answer {
	if len(c.methodARN()) > maxARN {
		return &answer{row: "414", status: http.StatusRequestURITooLong, bare: true}
	}
	if !c.large {
		return nil
	}
	return &answer{
		row: "413", status: http.StatusRequestEntityTooLarge, errorType: "RequestTooLargeException",
		response: RequestTooLarge, message: "HTTP content length exceeded 10485760 bytes",
	}
}

// match answers for a path or method that the deployed tree lacks.
func (c *call) match() *answer {
	switch {
	case c.method != nil:
		return nil
	case c.pathKnown:
		return missingToken("B3")
	}
	return missingToken("B2") // and B4, with the stage left in the path, and B5, not redeployed
}

// apiKey answers F1. The Knowledge Center's "Invalid API Key identifier
// specified" is the control plane's text, never the data plane's.
func (c *call) apiKey() *answer {
	if !c.method.KeyRequired || c.plan() != nil {
		return nil
	}
	a := forbidden("F1")
	a.response = InvalidAPIKey
	return a
}

// plan returns the usage plan of the request's API key for this stage.
func (c *call) plan() *Plan {
	sent := c.r.Header.Get("x-api-key")
	for id, key := range c.state.Keys {
		if sent == "" || key.Value != sent || key.Disabled {
			continue
		}
		for _, p := range c.state.Plans {
			if slices.Contains(p.Keys, id) && slices.Contains(p.Stages, c.apiID+"/"+c.stageName) {
				return p
			}
		}
	}
	return nil
}

// throttle answers the two kinds of 429 of section 1.3, without Retry-After.
func (c *call) throttle() *answer {
	var plan Plan
	if p := c.plan(); c.method.KeyRequired && p != nil {
		plan = *p
	}
	switch {
	case plan.QuotaSpent:
		return &answer{
			row: "429 quota", status: http.StatusTooManyRequests, errorType: "LimitExceededException",
			response: QuotaExceeded, message: "Limit Exceeded",
		}
	case plan.Throttled || c.stage.Throttled || c.method.Throttled:
		return &answer{
			row: "429", status: http.StatusTooManyRequests, errorType: "TooManyRequestsException",
			response: ThrottledResponse, message: "Too Many Requests",
		}
	}
	return nil
}

// validate is the request validator and the check of the content type.
func (c *call) validate() *answer {
	var missing []string
	query := c.r.URL.Query()
	for _, name := range c.method.RequiredParams {
		if !query.Has(name) {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return &answer{
			row: "400", status: http.StatusBadRequest, errorType: "BadRequestException", response: BadRequestParameters,
			message: "Missing required request parameters: [" + strings.Join(missing, ", ") + "]",
		}
	}
	if c.method.JSONBody && !json.Valid(c.body) {
		return &answer{
			row: "400", status: http.StatusBadRequest, errorType: "BadRequestException", response: BadRequestBody,
			message: "Invalid request body",
		}
	}
	return c.mediaType()
}

func (c *call) mediaType() *answer {
	if len(c.method.ContentTypes) == 0 || slices.Contains(c.method.ContentTypes, c.r.Header.Get("Content-Type")) {
		return nil
	}
	return &answer{ // error type and text UNVERIFIED
		row: "415", status: http.StatusUnsupportedMediaType, errorType: "UnsupportedMediaTypeException",
		response: UnsupportedMediaType, message: "Unsupported Media Type",
	}
}
