package invoke

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"

	"vpcprobe/probes"
)

// Credentials fetches AWS credentials from the default chain and keeps them
// until shortly before they expire. One serves all targets of an agent.
type Credentials struct {
	network probes.Network

	mu   sync.Mutex
	kept map[string]*keptCredentials // by profile
}

// NewCredentials returns an empty cache. Everything that the AWS SDK asks for
// is dialed through the network.
func NewCredentials(network probes.Network) *Credentials {
	return &Credentials{network: network, kept: map[string]*keptCredentials{}}
}

// keptCredentials are those of one profile. turn holds a token; who takes it
// may fetch, the others wait for the result unless those at hand are good.
type keptCredentials struct {
	turn chan struct{}

	mu      sync.Mutex
	creds   aws.Credentials
	fetched time.Time // or when that last failed, if those before it are good
}

// The ages of credentials.
const (
	early   = 5 * time.Minute // before they expire, they are fetched anew
	retry   = time.Minute     // but at most this often, for sources that hand out the same ones again
	lasting = 5 * time.Minute // those without an expiry are read anew, since files are rotated
)

func (k *keptCredentials) fresh(now time.Time) bool {
	age := now.Sub(k.fetched)
	switch {
	case !k.creds.HasKeys():
		return false
	case !k.creds.CanExpire:
		return age < lasting
	case !now.Before(k.creds.Expires):
		return false
	}
	return age < retry || now.Before(k.creds.Expires.Add(-early))
}

// known returns the credentials at hand, and whether they are known not to have
// expired.
func (k *keptCredentials) known() (creds aws.Credentials, fresh, good bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	return k.creds, k.fresh(now), k.creds.HasKeys() && k.creds.CanExpire && now.Before(k.creds.Expires)
}

// Get returns the credentials of a profile, the default chain's if profile is
// empty. A fetch is bounded by timeout; where it fails, or lasts, while the old
// ones have not expired, those are returned.
func (c *Credentials) Get(ctx context.Context, profile, region string, timeout time.Duration) (aws.Credentials, error) {
	k := c.of(profile)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case <-k.turn:
	default:
		if creds, _, good := k.known(); good {
			return creds, nil // somebody is fetching better ones
		}
		select {
		case <-k.turn:
		case <-ctx.Done():
			return aws.Credentials{}, &CredentialsFault{Source: "wait", Reason: "another target is still fetching them", cause: ctx.Err()}
		}
	}
	defer func() { k.turn <- struct{}{} }()
	if creds, fresh, _ := k.known(); fresh {
		return creds, nil
	}
	creds, err := c.fetch(ctx, profile, region)
	if err != nil {
		old, _, good := k.known()
		if !good {
			return creds, err
		}
		creds = old // and nobody asks again for a while
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.creds, k.fetched = creds, time.Now()
	return creds, nil
}

// Forget makes the next Get fetch anew: the gateway has refused them.
func (c *Credentials) Forget(profile string) {
	k := c.of(profile)
	select {
	case <-k.turn:
		defer func() { k.turn <- struct{}{} }()
	default:
		return // being fetched already
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fetched = time.Time{}
	if !k.creds.CanExpire {
		k.creds = aws.Credentials{}
	}
}

func (c *Credentials) of(profile string) *keptCredentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept[profile]
	if k == nil {
		k = &keptCredentials{turn: make(chan struct{}, 1)}
		k.turn <- struct{}{}
		c.kept[profile] = k
	}
	return k
}

// fetch goes through the default chain, once: who is due again soon need not
// insist. To the SDK a file of profiles that it cannot open is one that is not
// there, and it goes on to the next source: that there is a descriptor to open
// one with is seen first, and again where the fetch has failed.
func (c *Credentials) fetch(ctx context.Context, profile, region string) (aws.Credentials, error) {
	if err := exhausted(); err != nil {
		return aws.Credentials{}, newCredentialsFault(err, profile)
	}
	creds, err := c.retrieve(ctx, profile, region)
	if err != nil {
		return aws.Credentials{}, newCredentialsFault(cmp.Or(exhausted(), err), profile)
	}
	return creds, nil
}

func (c *Credentials) retrieve(ctx context.Context, profile, region string) (aws.Credentials, error) {
	cfg, err := c.chain(ctx, profile, region)
	if err != nil {
		return aws.Credentials{}, err
	}
	return cfg.Credentials.Retrieve(ctx)
}

// exhausted returns why no file can be opened now, for want of descriptors or
// memory; nil if one can.
func exhausted() error {
	f, err := os.Open(os.DevNull)
	switch {
	case err == nil:
		f.Close()
	case probes.Exhausted(err):
		return err
	}
	return nil
}

// chain sets the default chain up, so that all of it dials through the
// network. The SDK's own client is needed, since it alone takes AWS_CA_BUNDLE;
// but for the instance metadata it dials by itself, and the container
// endpoints are not asked with it. These two get a plain one.
func (c *Credentials) chain(ctx context.Context, profile, region string) (aws.Config, error) {
	dial := func(dialing context.Context, network, address string) (net.Conn, error) {
		return c.dial(ctx, dialing, network, address)
	}
	own := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext, t.DisableKeepAlives, t.Proxy = dial, true, proxyOf
	})
	plain := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(own), config.WithRegion(region),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient, o.Retryer = plain, aws.NopRetryer{} }),
	}
	if profile != "" {
		options = append(options, config.WithSharedConfigProfile(profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, err
	}
	cfg.HTTPClient = plain
	metadata := imds.NewFromConfig(cfg, func(o *imds.Options) { o.Retryer = aws.NopRetryer{} })
	options = append(options, config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = metadata }))
	return config.LoadDefaultConfig(ctx, options...)
}

// dial connects for a fetch, and ends the connection with it. The SDK detaches
// what it does from the context that it is given, so that a fetch given up
// would go on by itself.
func (c *Credentials) dial(fetch, dialing context.Context, network, address string) (net.Conn, error) {
	dialing, cancel := context.WithCancel(dialing)
	defer cancel()
	defer context.AfterFunc(fetch, cancel)()
	if err := fetch.Err(); err != nil {
		return nil, err
	}
	conn, err := c.network.DialContext(dialing, network, address)
	if err != nil {
		return nil, err
	}
	return &endingConn{conn, context.AfterFunc(fetch, func() { conn.Close() })}, nil
}

// An endingConn ends when the fetch does that it was made for.
type endingConn struct {
	net.Conn
	forget func() bool
}

func (c *endingConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// proxyOf sends nothing to a proxy that is for this machine alone: the
// metadata and credential endpoints.
func proxyOf(r *http.Request) (*url.URL, error) {
	if addr, err := netip.ParseAddr(r.URL.Hostname()); err == nil && (addr.IsLinkLocalUnicast() || addr.IsLoopback() || addr.IsPrivate()) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// A CredentialsFault says which source of credentials failed, and how.
type CredentialsFault struct {
	Source string `json:"source"`         // instance-metadata, container, web-identity, sso, profile, ...
	Reason string `json:"reason"`         // scrubbed
	Hint   string `json:"hint,omitempty"` // what is known to cause that

	cause error
}

func (f *CredentialsFault) Error() string { return "credentials: " + f.String() }

// Unwrap returns the error of the source.
func (f *CredentialsFault) Unwrap() error { return f.cause }

func (f *CredentialsFault) String() string { return f.Source + ": " + f.Reason }

func credentialsFault(err error) *CredentialsFault {
	if f, ok := errors.AsType[*CredentialsFault](err); ok {
		return f
	}
	return newCredentialsFault(err, "")
}

// newCredentialsFault finds out which source of the chain failed. The SDK says
// so in the operation that failed; where it says nothing, the environment
// tells which source the chain had chosen.
func newCredentialsFault(err error, profile string) *CredentialsFault {
	f := &CredentialsFault{Source: chosenSource(profile), Reason: probes.Scrub(err.Error(), maxMessage), cause: err}
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		if s, known := operations[op.ServiceID]; known {
			f.Source = s
		}
	}
	if !probes.Exhausted(err) {
		f.Hint = hints[f.Source]
	}
	return f
}

// operations are the names by which the SDK calls the services that hand out
// credentials.
var operations = map[string]string{
	"ec2imds":                     "instance-metadata",
	"endpoint-credentials":        "container",
	"endpoint-credentials.client": "container",
	"STS":                         "web-identity",
	"SSO":                         "sso",
	"SSO OIDC":                    "sso",
	"Signin":                      "login",
}

// chosenSource follows the order of the default chain.
func chosenSource(profile string) string {
	for _, s := range []struct{ variable, source string }{
		{"AWS_ACCESS_KEY_ID", "environment"},
		{"AWS_WEB_IDENTITY_TOKEN_FILE", "web-identity"},
		{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "container"},
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "container"},
	} {
		if profile == "" && os.Getenv(s.variable) != "" {
			return s.source
		}
	}
	if profile != "" {
		return fmt.Sprintf("profile %q", profile)
	}
	return "instance-metadata"
}

// hints are what commonly keeps a source from answering inside a VPC.
var hints = map[string]string{
	"instance-metadata": "in a container, IMDSv2 needs a hop limit of at least 2: aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2 --http-tokens required; and the instance needs a profile with a role",
	"container":         "the container's credential endpoint (169.254.170.2 on ECS, 169.254.170.23 for EKS Pod Identity) must be reachable, and the task or the pod's service account must have a role",
	"web-identity":      "AssumeRoleWithWebIdentity goes to the regional STS: an isolated VPC needs an interface endpoint for com.amazonaws.REGION.sts, and AWS_STS_REGIONAL_ENDPOINTS=regional",
	"environment":       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must both be set",
	"sso":               "an SSO session does not renew itself in an unattended agent: use a role",
}
