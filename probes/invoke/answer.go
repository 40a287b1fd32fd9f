package invoke

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vpcprobe/probes"
)

// An Answer is what came back to one request, or why none could be sent. All
// foreign text in it is scrubbed and bounded.
type Answer struct {
	Method string `json:"method,omitempty"`
	Host   string `json:"host,omitempty"` // the Host header that was sent
	Path   string `json:"path,omitempty"` // the request line's path; its query is left out

	Status    int    `json:"status,omitempty"`
	Protocol  string `json:"protocol,omitempty"` // HTTP/1.1 or HTTP/2.0
	Who       Who    `json:"answered_by,omitempty"`
	ErrorType string `json:"errortype,omitempty"` // x-amzn-errortype, cut at its first colon
	Message   string `json:"message,omitempty"`   // the body's "message" or "Message"
	WAFAction string `json:"waf_action,omitempty"`
	Server    string `json:"server,omitempty"`
	Body      string `json:"body,omitempty"` // how the body begins, where it holds no message
	Size      int64  `json:"size"`           // bytes of body read

	RequestID         string `json:"request_id,omitempty"`          // $context.requestId in the API's logs
	ExtendedRequestID string `json:"extended_request_id,omitempty"` // $context.extendedRequestId

	// Skew is the server's clock minus ours in seconds, from the Date header
	// (whose resolution is 1 s) and half the round trip; nil without one.
	// A positive skew means that the local clock is behind.
	Skew *float64 `json:"clock_skew_seconds,omitempty"`

	Signed    *Signature        `json:"signed,omitempty"`
	KeySent   bool              `json:"api_key_sent,omitempty"`
	CertAsked bool              `json:"client_certificate_asked,omitempty"` // by the server, in the handshake
	Failed    *CredentialsFault `json:"credentials,omitempty"`              // why nothing could be signed

	// Denial is the row of the table of denials that the answer is, and Causes
	// are the findings that it may mean on this target: exactly one of them is
	// true. More than one means that the answer alone does not tell.
	Denial    string           `json:"denial,omitempty"`
	Causes    []string         `json:"causes,omitempty"`
	Certainty probes.Certainty `json:"-"`
	Family    Family           `json:"-"`

	expectsGateway bool   // the target is an API of API Gateway for sure
	direct         bool   // it is called by a name that is API Gateway's own, so nothing wanted is before it
	apiNamed       bool   // x-apigw-api-id was sent
	token          bool   // something was sent that an authorizer may look at
	origin         origin // of a saved answer

	// Differs is the first line in which the canonical request that the
	// gateway echoed is not the one that we signed.
	Differs string `json:"signature_differs,omitempty"`
}

// A Signature says what was signed, and never with what: of the access key id
// only the end is kept.
type Signature struct {
	Host  string `json:"host"`
	Scope string `json:"scope"`  // date/region/service/aws4_request
	KeyID string `json:"key_id"` // its last four characters
}

// Who says who answered. It is decided before anything is read into the
// status: a proxy's 403 says nothing about the API.
type Who string

// Who may answer.
const (
	RESTAPI      Who = "rest-api"
	HTTPAPI      Who = "http-api"
	FunctionURL  Who = "function-url"
	CloudFront   Who = "cloudfront"
	LoadBalancer Who = "load-balancer"
	Backend      Who = "backend"
	Proxy        Who = "proxy"
	Unknown      Who = "unknown"
)

// Of returns the answer that an observation of a request carries, or nil.
func Of(o probes.Observation) *Answer {
	switch d := o.Detail.(type) {
	case *Answer:
		return d
	case interface{ InvokeAnswer() *Answer }:
		return d.InvokeAnswer()
	}
	return nil
}

// PastCertificate reports whether only those get such an answer whose client
// certificate the server took: a good one, or one of API Gateway's that it does
// not give to the others as well. Package identify asks for it.
func (a *Answer) PastCertificate() bool {
	open := slices.Contains(a.Causes, "client-cert-distrusted") || a.Who == Backend && a.Status == http.StatusForbidden
	return a.Status/100 == 2 && a.ErrorType == "" || fromGateway(a) && !open
}

// String is the line that people are shown.
func (a Answer) String() string {
	if a.Failed != nil {
		return a.Failed.String()
	}
	if a.Status == 0 {
		return a.Method + " " + a.Host + a.Path
	}
	var b strings.Builder
	b.WriteString(a.short())
	if a.Who != RESTAPI && a.Who != "" {
		fmt.Fprintf(&b, " (answered by: %s)", a.Who)
	}
	if a.RequestID != "" {
		b.WriteString(", request " + a.RequestID)
	}
	return b.String()
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return `"` + s + `"`
}

// Behind reports by how much the local clock is behind the server's, and
// whether that is known.
func (a *Answer) Behind() (time.Duration, bool) {
	if a.Skew == nil {
		return 0, false
	}
	return time.Duration(*a.Skew * float64(time.Second)), true
}
