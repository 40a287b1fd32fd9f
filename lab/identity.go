package lab

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"time"
)

// The paths at which ECS and EKS hand out credentials.
const (
	ecsPath = "/v2/credentials/0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
	eksPath = "/v1/credentials"
)

// The sources that [Lab.Environment] knows.
const (
	SourceIMDS        = "imds"         // an instance profile, by IMDSv2
	SourceECS         = "ecs"          // a task role
	SourceEKS         = "eks"          // EKS Pod Identity
	SourceWebIdentity = "web-identity" // a service account's role, by STS
)

// Environment returns the environment variables, each as name=value, that make
// the AWS default chain take credentials from one source in the lab and from
// nowhere else. An unknown source has no credentials at all. The variables
// replace all others that begin with AWS_.
func (l *Lab) Environment(source string) []string {
	env := []string{
		"AWS_CONFIG_FILE=" + l.file(emptyFile),
		"AWS_SHARED_CREDENTIALS_FILE=" + l.file(emptyFile),
		"AWS_REGION=" + Region,
	}
	switch source {
	case SourceIMDS:
		return env
	case SourceECS:
		env = append(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="+ecsPath)
	case SourceEKS:
		env = append(env,
			"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://"+eksAddress().String()+eksPath,
			"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+l.file(containerFile))
	case SourceWebIdentity:
		env = append(env,
			"AWS_WEB_IDENTITY_TOKEN_FILE="+l.file(webIdentityFile),
			"AWS_ROLE_ARN="+roleARN,
			"AWS_ROLE_SESSION_NAME=lab",
			// Without TLS: a client of the SDK that brings its own transport
			// cannot be given the lab's root by AWS_CA_BUNDLE.
			"AWS_ENDPOINT_URL_STS=http://"+l.at(stsPlain()).String())
	}
	return append(env, "AWS_EC2_METADATA_DISABLED=true")
}

// plain serves a handler without TLS.
func (l *Lab) plain(h http.Handler) func(net.Conn) {
	return func(conn net.Conn) {
		c := newCall(conn, h)
		l.web.serve(c, c)
	}
}

// credentials is the document that IMDS and the container endpoints share.
type credentials struct {
	Code, Type, LastUpdated, RoleArn    string `json:",omitempty"`
	AccessKeyId, SecretAccessKey, Token string
	Expiration                          string
}

func (l *Lab) credentials() credentials {
	id := l.state.Load().identity
	return credentials{
		AccessKeyId: AccessKeyID, SecretAccessKey: id.secret, Token: SessionToken,
		Expiration: time.Now().Add(id.expires).UTC().Format(time.RFC3339),
	}
}

// withheld deals with a request for credentials that gets none, and tells
// whether there was nothing left to do.
func (l *Lab) withheld(w http.ResponseWriter, r *http.Request, status int) bool {
	switch l.state.Load().identity.source {
	case hasNone:
		http.Error(w, http.StatusText(status), status)
	case isSilent:
		<-r.Context().Done()
	default:
		return false
	}
	return true
}

// imds is the instance metadata service, version 2 only (Amazon EC2 User
// Guide, instancedata-data-retrieval).
func (l *Lab) imds() http.Handler {
	const token = "lab-imds-token"
	const base = "/latest/meta-data/iam/security-credentials/"
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		if l.state.Load().identity.source == isSilent {
			<-r.Context().Done() // the answer's hop limit ends before the container
			return
		}
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		fmt.Fprint(w, token)
	})
	authorized := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Aws-Ec2-Metadata-Token") != token {
				http.Error(w, "Unauthorized", http.StatusUnauthorized)
				return
			}
			if !l.withheld(w, r, http.StatusNotFound) {
				h(w, r)
			}
		}
	}
	mux.HandleFunc("GET "+base+"{$}", authorized(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, role) }))
	mux.HandleFunc("GET "+base+role, authorized(func(w http.ResponseWriter, _ *http.Request) {
		c := l.credentials()
		c.Code, c.Type, c.LastUpdated = "Success", "AWS-HMAC", time.Now().UTC().Format(time.RFC3339)
		writeJSON(w, c)
	}))
	return mux
}

// container is the credential endpoint of ECS, or, with a token, that of EKS
// Pod Identity.
func (l *Lab) container(token string) http.Handler {
	path := ecsPath
	if token != "" {
		path = eksPath
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != token {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		if l.withheld(w, r, http.StatusForbidden) {
			return
		}
		c := l.credentials()
		if token == "" {
			c.RoleArn = roleARN
		}
		writeJSON(w, c)
	})
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// sts is the Security Token Service of the Region.
func (l *Lab) sts(conn net.Conn) {
	cert, err := l.issuers.get(certificate{name: stsName, expires: 300 * day})
	if err != nil {
		return
	}
	c := newCall(conn, http.HandlerFunc(l.assumeRole))
	t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if t.HandshakeContext(ctx) == nil {
		l.web.serve(t, c)
	}
}

// assumeRole answers AssumeRoleWithWebIdentity (AWS STS API Reference).
func (l *Lab) assumeRole(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/xml")
	if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != WebIdentity || r.FormValue("RoleArn") != roleARN {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>The web identity token is not the lab's</Message></Error></ErrorResponse>`)
		return
	}
	switch l.state.Load().identity.source {
	case isSilent:
		<-r.Context().Done()
		return
	case hasNone:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>`)
		return
	}
	c := l.credentials()
	type issued struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string }
	xml.NewEncoder(w).Encode(struct {
		XMLName     xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleWithWebIdentityResponse"`
		Credentials issued   `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
		Arn         string   `xml:"AssumeRoleWithWebIdentityResult>AssumedRoleUser>Arn"`
		RoleID      string   `xml:"AssumeRoleWithWebIdentityResult>AssumedRoleUser>AssumedRoleId"`
	}{
		Credentials: issued{c.AccessKeyId, c.SecretAccessKey, c.Token, c.Expiration},
		Arn:         callerARN, RoleID: "AROALABROLE:lab",
	})
}
