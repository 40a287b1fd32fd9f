package apigateway

import (
	"crypto/x509"
	"net/http"
	"strings"
	"time"
)

// The names of what [Healthy] describes.
const (
	Region  = "eu-west-1"
	Account = "111122223333" // owns the APIs

	PrivateAPI  = "a1b2c3d4e5" // the private API, of stage [StageName]
	RegionalAPI = "f6e7d8c9b0" // a public REST API
	HTTPAPI     = "c0ffee1234" // a public HTTP API
	StageName   = "prod"

	EndpointID = "vpce-0a1b2c3d4e5f67890"
	VPC        = "vpc-0f1e2d3c4b5a69788"

	PrivateDomain = "orders.internal.example" // maps to the private API
	PublicDomain  = "api.example.com"         // maps to the regional API
	HTTPDomain    = "http.example.com"        // maps to the HTTP API

	AccessKeyID     = "AKIAIOSFODNN7EXAMPLE"
	SecretAccessKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

	RoleAccessKeyID     = "ASIAIOSFODNN7EXAMPLE" // temporary: needs the token
	RoleSecretAccessKey = "bPxRfiCYEXAMPLEKEY/wJalrXUtnFEMI/K7MDENG"
	RoleSessionToken    = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCWV1LXdlc3QtMSJHMEUCIQ=="

	APIKey        = "Zx8fEXAMPLEkeyThatIsFortyCharactersLong0"
	BearerToken   = "lab-bearer-token" // what the authorizers of Healthy accept
	organization  = "o-a1b2c3d4e5"
	healthyDomain = "d0e1f2"
)

// State is everything the model knows: the control plane's configuration and
// the few things of the world that answers depend on. A zero State answers
// every request as API Gateway answers one for an API that does not exist.
type State struct {
	Region    string           // as in host names and credential scopes
	DNSSuffix string           // amazonaws.com unless set
	Account   string           // the account that owns the APIs
	Now       func() time.Time // the gateway's clock: Date headers and the signature window; time.Now unless set

	// OldMessages selects the message texts of before 2025/26, which do not
	// name the policy at fault, and the articles' error types.
	OldMessages bool
	// EchoCanonicalRequest appends the canonical request and the string to
	// sign to the message about a signature that does not match, as some
	// answers do (FACTS.md 1.2, D3).
	EchoCanonicalRequest bool
	// EndpointPolicyRefusesBearer makes an endpoint policy that is not the
	// default refuse requests with an Authorization header that is no SigV4
	// signature (row C2, seen once). AWS's document says that such a caller
	// is anonymous, which is the model's default.
	EndpointPolicyRefusesBearer bool
	// ResponsesCoverDenials lets a customized ACCESS_DENIED gateway response
	// rewrite the authorization engine's denials A3 to A8 too. Whether it does
	// is not known (FACTS.md 1.3); the default is that it rewrites only the
	// authorizers' A1 and A2, which the Developer Guide says it does.
	ResponsesCoverDenials bool

	APIs       map[string]*API       // by id
	Domains    map[string]*Domain    // by host name, lower case
	Endpoints  map[string]*Endpoint  // VPC endpoints by id
	Principals map[string]*Principal // by access key id
	Keys       map[string]*Key       // API keys by id
	Plans      []*Plan

	// ResourceControl is a resource control policy over the API's account:
	// it names principals, and applies to anonymous ones as well. Its Kind is
	// ignored.
	ResourceControl *Guardrail
}

// Type is an API's endpoint type.
type Type int

// The endpoint types.
const (
	Private  Type = iota // answers through VPC endpoints only
	Regional             // answers from the internet only
)

// AccessMode is the endpoint access mode of enhanced security policies.
type AccessMode int

// The access modes.
const (
	Basic  AccessMode = iota
	Strict            // SNI, Host and endpoint type must agree
)

// An API is a REST API, or an HTTP API if HTTP is set. What callers meet is
// what was deployed to a stage: changes to the Definition show after Deploy.
type API struct {
	Type                    Type
	HTTP                    bool // an HTTP API (v2): always Regional, other headers and bodies
	DefaultEndpointDisabled bool
	Endpoints               []string // the VPC endpoints associated with it: their alias names work
	AccessMode              AccessMode
	Definition
	Stages map[string]*Stage
}

// Deploy gives every stage the API's present definition.
func (a *API) Deploy() {
	for _, s := range a.Stages {
		s.Definition = a.Definition.clone()
	}
}

// A Definition is what a deployment snapshots.
type Definition struct {
	Policy    string                           // the resource policy, JSON; "" is none
	Resources map[string]map[string]*Method    // path template ("/orders/{id}", "/files/{proxy+}"), HTTP method or "ANY"
	Responses map[ResponseType]GatewayResponse // customized gateway responses
}

// A Stage serves a deployed definition.
type Stage struct {
	Definition
	WAF       *WAF
	Throttled bool // every request exceeds the stage's rate
}

// Auth is a method's authorization type.
type Auth int

// The authorization types.
const (
	None    Auth = iota
	IAM          // AWS_IAM: SigV4
	Lambda       // a Lambda authorizer
	Cognito      // a Cognito user pool
)

// A Method is one HTTP method of a resource.
type Method struct {
	Auth           Auth
	Authorizer     Authorizer
	KeyRequired    bool
	Throttled      bool     // every request exceeds the method's rate
	RequiredParams []string // query parameters without which the request validator refuses
	JSONBody       bool     // the request validator wants a JSON body
	ContentTypes   []string // those that pass, if any are listed
	Integration    Integration
}

// Verdict is what a Lambda authorizer does with a request that carries its
// identity source.
type Verdict int

// The verdicts.
const (
	Allow Verdict = iota
	DenyExplicit
	// DenyNarrow: the authorizer's policy, often a cached one, does not cover
	// this path. By the Developer Guide's Table A a resource policy that
	// allows still lets the request pass.
	DenyNarrow
	Unauthorized  // the function returned "Unauthorized"
	Failed        // the function failed
	Misconfigured // the gateway may not invoke the function, or its answer is no policy
)

// An Authorizer is a Lambda or Cognito authorizer.
type Authorizer struct {
	Header  string // the identity source; Authorization unless set
	Token   string // if set, the only accepted value, with or without "Bearer "
	Verdict Verdict
}

// Behavior is how an integration ends.
type Behavior int

// The behaviors.
const (
	Answers           Behavior = iota // status, header and body below
	Echoes                            // a JSON document of the request as the backend saw it
	NotPermitted                      // 500: the gateway may not invoke the backend, or a mapping fails
	MalformedResponse                 // 502: the function's answer is not a proxy response
	Unavailable                       // 503
	TimesOut                          // 504 after Delay (about 29 s on AWS)
	Unreachable                       // 504: the VPC link or backend cannot be reached
)

// An Integration is a method's backend. The zero value answers 200 {}.
type Integration struct {
	Behavior Behavior
	Status   int // 200 unless set
	Header   http.Header
	Body     string
	Delay    time.Duration // before the answer
}

// A GatewayResponse customizes an answer of the gateway's own. Its Body may
// use $context.error.message, $context.error.messageString,
// $context.error.responseType and $context.requestId.
type GatewayResponse struct {
	Status        int // the type's own unless set
	Header        http.Header
	Body          string // the type's own unless set
	HideErrorType bool   // send no x-amzn-ErrorType; whether AWS ever does is not known
}

// A Domain is a custom domain name.
type Domain struct {
	Private    bool
	ID         string        // of a private domain, part of its ARN
	Rules      []RoutingRule // tried in order, before the mappings
	Mappings   []Mapping
	AccessMode AccessMode

	// Truststore holds the certificates of the mutual TLS bundle; nil is a
	// domain without mutual TLS.
	Truststore []*x509.Certificate
	// IgnoreExpiry accepts client certificates out of their validity. The
	// Developer Guide lists validity among the checks, others say that it is
	// not checked (FACTS.md 3.1); by default it is.
	IgnoreExpiry bool

	Associations []string // VPC endpoints with an access association; private domains only
	Policy       string   // the domain policy of a private domain; "" denies
}

// A RoutingRule routes requests that have a header to a stage of an API, as
// custom domains can since June 2025.
type RoutingRule struct {
	Header, Value string
	API           string
	Stage         string
}

// A Mapping maps a base path of a domain to a stage of an API.
type Mapping struct {
	BasePath string // without slashes at its ends; "" is the root
	API      string
	Stage    string
}

// An Endpoint is an interface VPC endpoint for execute-api.
type Endpoint struct {
	Policy string // "" is the default, which allows everything
}

// A Principal is what an access key stands for.
type Principal struct {
	SecretAccessKey string
	SessionToken    string // "" for long-term credentials
	Expired         bool   // the temporary credentials have expired
	ARN             string // as denials name it: a user's, or a session's (arn:aws:sts::...:assumed-role/...)
	RoleARN         string // aws:PrincipalArn of a session; derived from ARN unless set
	Organization    string // aws:PrincipalOrgID
	Policy          string // the identity-based policy; "" grants nothing
	Guardrails      []Guardrail
}

// GuardrailKind says which kind of limit a Guardrail is.
type GuardrailKind int

// The kinds of limit.
const (
	ServiceControl GuardrailKind = iota
	Boundary
	Session
	resourceControl // State.ResourceControl, whatever its Kind says
)

// A Guardrail is a policy that only limits. It names no principals, unless it
// is a resource control policy.
type Guardrail struct {
	Kind   GuardrailKind
	Policy string
	ARN    string // if set, the denial ends by naming it, as since January 2026
}

// A Key is an API key.
type Key struct {
	Value    string
	Disabled bool
}

// A Plan is a usage plan.
type Plan struct {
	Stages     []string // "api/stage"
	Keys       []string // ids of API keys
	Throttled  bool     // every request exceeds the plan's rate
	QuotaSpent bool
}

// WAFAction is what a rule of AWS WAF does.
type WAFAction int

// The actions.
const (
	Block     WAFAction = iota
	Challenge           // 202
	Captcha             // 405
	Pass                // end the evaluation, allow
)

// A WAF is the web ACL of a stage: the first rule that matches decides.
type WAF struct {
	Rules  []WAFRule
	Broken bool // the gateway fails to evaluate the rules
}

// A WAFRule matches a request that meets all of its conditions; one without
// conditions matches every request.
type WAFRule struct {
	Action   WAFAction
	Response *GatewayResponse // WAF's own custom response to a block

	Networks []string // CIDRs that hold the source address
	Contains string   // a substring of the path, the query or a header's value
	Path     string   // a prefix of the path as sent, the stage included
}

func (s *State) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *State) suffix() string {
	if s.DNSSuffix == "" {
		return "amazonaws.com"
	}
	return s.DNSSuffix
}

func (s *State) partition() string {
	switch {
	case strings.HasPrefix(s.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(s.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
