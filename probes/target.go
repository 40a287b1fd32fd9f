package probes

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// A Target is one API as its callers see it, as the configuration describes
// it. It is read-only once loaded.
//
// The struct tags are the reference: the configuration's decoder, its JSON
// Schema and its documents are made from them. config is the key, doc what it
// means, default what applies when it is absent; required, enum, pattern, min,
// max and format say what is accepted. The formats are file (a path, relative
// to the configuration file), host, url (https), regexp (RE2), resolver,
// finding, kind (of probe) and variable (of the environment). A list tagged
// single may be written as its only item.
type Target struct {
	Name   string     `config:"name" required:"true" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" doc:"Label of the target in output and metrics; unique."`
	Kind   TargetKind `config:"kind" enum:"private-api,custom-domain" default:"private-api" doc:"What is called: a private-api through its VPC endpoint, or a custom-domain: any HTTPS host, such as a regional or private custom domain or a load balancer in front of the endpoint."`
	API    string     `config:"api" pattern:"^[a-z0-9]{1,32}$" example:"a1b2c3d4e5" doc:"The REST API's id."`
	Region string     `config:"region" pattern:"^[a-z]{2}(-[a-z]+)+-[0-9]+$" example:"eu-west-1" doc:"The AWS region of the API."`

	DNSSuffix string `config:"dns_suffix" format:"host" example:"amazonaws.com.cn" doc:"The partition's DNS suffix; derived from the region unless given."`
	Domain    string `config:"domain" format:"host" example:"api.example.com" doc:"The custom domain's host name."`
	Stage     string `config:"stage" pattern:"^[A-Za-z0-9_$-]{1,128}$" example:"prod" doc:"The stage of the API; a custom domain has none."`
	Path      string `config:"path" pattern:"^/" default:"/" example:"/health" doc:"The resource's path, below the stage; a query may follow."`

	*Settings // never nil
}

// Settings are what a target has in common with most others, by their number
// and by what they say, so that those which are equal may be one. Who changes
// those of a target that is not its own needs a [Target.Clone].
type Settings struct {
	Method string `config:"method" enum:"GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS" default:"GET" doc:"The HTTP method. An answer to HEAD has no body, so its causes are harder to tell."`

	Via       []Via    `config:"via" enum:"private-dns,endpoint,alias,domain" doc:"The name forms to walk: private-dns ({api}.execute-api…), endpoint (the endpoint's own name with x-apigw-api-id), alias ({api}-{vpce}.execute-api…), domain. Default: private-dns for a private API, domain for a custom domain."`
	Endpoint  Endpoint `config:"endpoint" doc:"The execute-api interface VPC endpoint."`
	Resolvers []string `config:"resolvers" format:"resolver" default:"system" example:"10.0.0.2:53" doc:"The resolvers to ask: system (resolv.conf and the hosts file) or address:port."`
	IPFamily  string   `config:"ip_family" enum:"both,ipv4,ipv6" example:"ipv4" doc:"Which addresses callers use, and so which records to ask for; the file's own ip_family unless given."`
	Port      uint16   `config:"port" min:"1" default:"443" doc:"The TCP port."`

	Sign        bool        `config:"sign" default:"false" doc:"Sign the request with SigV4 for the service execute-api, with credentials from the AWS default chain."`
	Profile     string      `config:"profile" doc:"The profile of the AWS shared configuration to take credentials from."`
	APIKey      Secret      `config:"api_key" doc:"The API key to send as x-api-key."`
	Headers     []Header    `config:"headers" doc:"Further request headers."`
	Body        string      `config:"body" doc:"The request body."`
	Expect      Expect      `config:"expect" doc:"What a good answer looks like; by default any 2xx status."`
	Recognize   []Recognize `config:"recognize" doc:"Customized gateway responses and what they mean, tried in order before the built-in table."`
	FollowUp    bool        `config:"follow_up" default:"true" doc:"Whether to send follow-up requests, at most twelve and once per failure unless they go unanswered, when an answer has several possible causes."`
	Control     Control     `config:"control" doc:"A public page that is known to answer. The follow-up asks for it when an answer bears no mark of API Gateway: what answers for the control as well is a proxy on the way."`
	KeyExchange string      `config:"key_exchange" enum:"classical,hybrid" default:"classical" doc:"The TLS key exchange to offer: classical (X25519, P-256, P-384, P-521), or hybrid, which puts post-quantum X25519MLKEM768 first as Go clients do by default."`

	Trust             Trust             `config:"trust" doc:"Which server certificates to trust, beside the system's roots."`
	ClientCertificate ClientCertificate `config:"client_certificate" doc:"The client certificate for mutual TLS."`

	Every        time.Duration            `config:"every" min:"100ms" example:"30s" doc:"How often to walk this target; the file's own every unless given."`
	WhileFailing time.Duration            `config:"while_failing" min:"100ms" example:"5s" doc:"How often to walk it while it is not reachable; the same as every unless given."`
	Timeout      time.Duration            `config:"timeout" min:"10ms" example:"5s" doc:"The bound on each step: one lookup, connection, handshake or request; the file's own timeout unless given."`
	Pace         map[string]time.Duration `config:"pace" min:"100ms" example:"trace: 5m" doc:"How often to run single kinds of probe, by their names. One that fails and that others stand on, or that says why others fail, runs as often as the target until it works."`
	Kinds        []string                 `config:"kinds" format:"kind" example:"resolve" doc:"The kinds of probe to run, and no others: resolve and as many of the layers above it as the verdict is to cover. All of them unless given."`
}

// The families that callers may be confined to (ip_family); anything else is
// both.
const (
	IPv4 = "ipv4"
	IPv6 = "ipv6"
)

// Uses reports whether callers of the target use addresses of addr's family.
func (t *Target) Uses(addr netip.Addr) bool {
	switch t.IPFamily {
	case IPv4:
		return addr.Unmap().Is4()
	case IPv6:
		return !addr.Unmap().Is4()
	}
	return true
}

// Clone returns a copy of the target that has nothing of its settings in common
// with it, save the lists in them.
func (t *Target) Clone() *Target {
	c, settings := *t, *t.Settings
	c.Settings = &settings
	return &c
}

// Runs reports whether the target's configuration asks for a kind of probe.
func (t *Target) Runs(kind string) bool { return len(t.Kinds) == 0 || slices.Contains(t.Kinds, kind) }

// TargetKind says what a target is.
type TargetKind string

// The kinds of target.
const (
	PrivateAPI   TargetKind = "private-api"
	CustomDomain TargetKind = "custom-domain"
)

// Via is a name form: one way of addressing the API.
type Via string

// The name forms (AWS, "How to invoke a private API").
const (
	ViaPrivateDNS Via = "private-dns" // {api}.execute-api.{region}.{suffix}
	ViaEndpoint   Via = "endpoint"    // the endpoint's own name, with x-apigw-api-id
	ViaAlias      Via = "alias"       // {api}-{vpce}.execute-api.{region}.{suffix}
	ViaDomain     Via = "domain"      // a custom domain
)

// An Endpoint is the interface VPC endpoint for execute-api.
type Endpoint struct {
	ID        string       `config:"id" pattern:"^vpce-[0-9a-f]{8,17}$" example:"vpce-0a1b2c3d4e5f67890" doc:"The endpoint's id."`
	DNSName   string       `config:"dns_name" format:"host" example:"vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com" doc:"The endpoint's own (regional) DNS name."`
	Addresses []netip.Addr `config:"addresses" example:"10.0.1.17" doc:"The addresses of its network interfaces; what the endpoint's own name answers unless given."`
}

// A Header is a request header. Exactly one of Value and Secret is given.
type Header struct {
	Name   string `config:"name" required:"true" pattern:"^[!#$%&'*+.^_|~0-9A-Za-z-]+$" example:"X-Tenant" doc:"The header's name."`
	Value  string `config:"value" doc:"Its value."`
	Secret Secret `config:"secret" doc:"Where its value is kept, if it is a secret."`
}

// Expect says what a good answer looks like.
type Expect struct {
	Status  []int    `config:"status" min:"100" max:"599" example:"200" doc:"The accepted statuses; any 2xx unless given."`
	Body    string   `config:"body" format:"regexp" doc:"A regular expression (RE2) that the body must match; of a longer one, its first 64 KiB."`
	JSON    []Equals `config:"json" doc:"Values that the JSON body, of at most 64 KiB, must hold."`
	Finding []string `config:"finding" format:"finding" single:"true" example:"[resource-policy-silent, caller-anonymous]" doc:"A finding's id, or a list of them: this caller must be refused, and for no other reason than these. Causes that cannot be told apart are found together: list them all."`
}

// Equals asks that a JSON document holds a value at a path.
type Equals struct {
	Path  string `config:"path" required:"true" example:"checks.0.state" doc:"Keys and indexes, separated by dots."`
	Value string `config:"value" required:"true" doc:"The value there, as text."`
}

// Recognize teaches the agent a customized gateway response: an answer that
// meets all of the given conditions means the finding.
type Recognize struct {
	Finding string `config:"finding" format:"finding" required:"true" doc:"The id of the finding that the answer means."`
	Status  int    `config:"status" min:"100" max:"599" doc:"The answer's status."`
	Header  string `config:"header" example:"X-Error: key-missing" doc:"A header of the answer, name and value separated by a colon."`
	Body    string `config:"body" format:"regexp" doc:"A regular expression (RE2) that the answer's body matches."`
}

// A Control is a page of a public web server that has nothing to do with the
// target. Nothing that belongs to the target goes there: no signature, API key,
// header, body or client certificate.
type Control struct {
	URL    string `config:"url" required:"true" format:"url" example:"https://checkip.amazonaws.com/" doc:"Its URL: https, and a host other than the target's. It gets a GET by the target's resolvers and trust, and nothing of the target's headers, secrets, signature or client certificate."`
	Status []int  `config:"status" min:"100" max:"599" example:"200" doc:"The statuses that it is known to answer with; any 2xx unless given."`
	Body   string `config:"body" format:"regexp" doc:"A regular expression (RE2) that its body is known to match."`
}

// Given reports whether the target has a control.
func (c Control) Given() bool { return c.URL != "" }

// Trust says which server certificates to trust.
type Trust struct {
	CAFile string `config:"ca_file" format:"file" doc:"A PEM file with further root certificates; read again when it changes."`
}

// A ClientCertificate is what the target's clients prove their identity with.
type ClientCertificate struct {
	Certificate string `config:"certificate" format:"file" doc:"A PEM file: the client certificate, and its intermediates if it needs any."`
	Key         string `config:"key" format:"file" doc:"A PEM file: its private key, unencrypted."`
	Truststore  string `config:"truststore" format:"file" doc:"A copy of the custom domain's truststore bundle, to judge the certificate against."`
}

// A Secret says where a secret is kept. It never holds one.
type Secret struct {
	File string `config:"file" format:"file" doc:"A file that holds it."`
	Env  string `config:"env" format:"variable" pattern:"^[A-Za-z_][A-Za-z0-9_]*$" doc:"An environment variable that holds it."`
}

// Given reports whether the secret was configured.
func (s Secret) Given() bool { return s != Secret{} }

// String says where the secret is kept, never what it is.
func (s Secret) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	}
	return "none"
}

// maxSecret bounds what is read of a secret's file, in bytes.
const maxSecret = 64 << 10

// Read returns the secret as it is now, without the line break that ends most
// files. Its errors say where the secret was looked for.
func (s Secret) Read() (string, error) {
	var text string
	switch {
	case s.File != "":
		info, err := os.Stat(s.File)
		if err != nil {
			return "", err
		}
		if info.Size() > maxSecret {
			return "", fmt.Errorf("%s: %d bytes is too long for a secret", s.File, info.Size())
		}
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", err
		}
		text = strings.TrimRight(string(b), "\r\n")
	case s.Env != "":
		text = os.Getenv(s.Env)
	default:
		return "", errors.New("no secret is configured")
	}
	if text == "" {
		return "", fmt.Errorf("%v is empty", s)
	}
	return text, nil
}

// A Form is a name form made concrete. Name is what is resolved, what the TLS
// client hello says (SNI) and what the Host header says; in the endpoint form
// the header x-apigw-api-id then names the API.
type Form struct {
	Via  Via
	Name string
}

// StepTimeout is how long one step of a walk may take: 5 s unless configured.
func (t *Target) StepTimeout() time.Duration {
	if t.Timeout <= 0 {
		return 5 * time.Second
	}
	return t.Timeout
}

// Interval is how often the target is walked: every 30 s unless configured.
func (t *Target) Interval() time.Duration {
	if t.Every <= 0 {
		return 30 * time.Second
	}
	return t.Every
}

// Forms returns the target's name forms in the order of Via.
func (t *Target) Forms() iter.Seq[Form] {
	return func(yield func(Form) bool) {
		for _, via := range t.Via {
			if !yield(Form{via, t.NameOf(via)}) {
				return
			}
		}
	}
}

// NameOf returns the host name of a name form, or "" where the target lacks
// what it is made of.
func (t *Target) NameOf(via Via) string {
	switch {
	case via == ViaPrivateDNS && t.API != "":
		return t.API + t.executeAPI()
	case via == ViaAlias && t.API != "" && t.Endpoint.ID != "":
		return t.API + "-" + t.Endpoint.ID + t.executeAPI()
	case via == ViaEndpoint:
		return t.Endpoint.DNSName
	case via == ViaDomain:
		return t.Domain
	}
	return ""
}

// executeAPI is what follows the API's id in its names.
func (t *Target) executeAPI() string { return ".execute-api." + t.Region + "." + t.Suffix() }

// Suffix is the partition's DNS suffix: as configured, or derived from the
// region (amazonaws.com.cn in China, amazonaws.com elsewhere).
func (t *Target) Suffix() string {
	switch {
	case t.DNSSuffix != "":
		return t.DNSSuffix
	case strings.HasPrefix(t.Region, "cn-"):
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// Partition is the AWS partition of the region, as in ARNs.
func (t *Target) Partition() string {
	switch {
	case strings.HasPrefix(t.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(t.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// URLPath is the path and query of the request line: the stage, if there is
// one, and the resource's path below it.
func (t *Target) URLPath() string {
	if t.Stage == "" {
		return t.Path
	}
	return "/" + t.Stage + t.Path
}

// Configured reports whether addr was configured as one of the endpoint's.
// What the endpoint's own name answers is known to package resolve only.
func (t *Target) Configured(addr netip.Addr) bool {
	return slices.Contains(t.Endpoint.Addresses, addr)
}
