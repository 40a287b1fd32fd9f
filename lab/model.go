package lab

import (
	"net/http"

	"vpcprobe/lab/apigateway"
)

// What the lab's callers send to prove who they are. None of it is worth
// anything outside the lab; tests look for it where no secret may appear.
const (
	AccessKeyID     = "ASIALABCALLER0000001"
	SecretAccessKey = "labSecret/0123456789abcdefghijklmnopqrstuv"
	SessionToken    = "bGFiLXNlc3Npb24tdG9rZW4tdGhhdC1ub2JvZHktbWF5LXNlZQ=="
	APIKey          = "lab-api-key-7Qm2xV9tB4nK8sL1wE6rY3uI0oP5aD"
	BearerToken     = "lab-bearer-token-4f1c9a"
	WebIdentity     = "lab-web-identity-token-77aa"
	containerToken  = "lab-container-authorization-token-3d21"
	callerARN       = "arn:aws:sts::" + AccountID + ":assumed-role/prober/lab"
	roleARN         = "arn:aws:iam::" + AccountID + ":role/prober"
	role            = "prober"
)

// Policies of the model, as their owners would write them.
const (
	allowInvoke = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"*"}]}`
	denyInvoke  = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"*"},
		{"Effect":"Deny","Principal":"*","Action":"execute-api:Invoke","Resource":"*"}]}`

	// throughEndpoint is the resource policy that the Developer Guide gives
	// for a private API (apigateway-resource-policies-examples).
	throughEndpoint = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"execute-api:/*"},
		{"Effect":"Deny","Principal":"*","Action":"execute-api:Invoke","Resource":"execute-api:/*",
		 "Condition":{"StringNotEquals":{"aws:SourceVpce":"` + EndpointID + `"}}}]}`

	// throughOther allows callers of another endpoint only: nobody here.
	throughOther = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"execute-api:/*",
		 "Condition":{"StringEquals":{"aws:SourceVpce":"` + OtherEndpointID + `"}}}]}`

	// forRole names a principal, which only works where the method's
	// authorization is AWS_IAM.
	forRole = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"` + roleARN + `"},"Action":"execute-api:Invoke","Resource":"execute-api:/*"}]}`

	denyPrivilege   = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"execute-api:Invoke","Resource":"*"}}`
	allowPrivilege  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}}`
	otherPrivilege  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`
	otherAPIAllowed = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:` + Region + `:` + AccountID + `:zz99yy88xx/*"}]}`
)

// healthyModel is API Gateway with the lab's private API, the Regional API of
// the mutual TLS domain, and both domains.
func healthyModel() *apigateway.State {
	private := &apigateway.API{
		Type:       apigateway.Private,
		Endpoints:  []string{EndpointID},
		Definition: apigateway.Definition{Policy: throughEndpoint, Resources: resources()},
		Stages:     map[string]*apigateway.Stage{Stage: {}},
	}
	private.Deploy()
	regional := &apigateway.API{
		Type:       apigateway.Regional,
		Definition: apigateway.Definition{Resources: resources()},
		Stages:     map[string]*apigateway.Stage{Stage: {}},
	}
	regional.Deploy()
	return &apigateway.State{
		Region:     Region,
		Account:    AccountID,
		APIs:       map[string]*apigateway.API{API: private, PartnersAPI: regional},
		Endpoints:  map[string]*apigateway.Endpoint{EndpointID: {}, OtherEndpointID: {}, FarEndpointID: {}},
		Domains:    domains(),
		Principals: map[string]*apigateway.Principal{AccessKeyID: caller()},
		Keys:       map[string]*apigateway.Key{"key1": {Value: APIKey}},
		Plans:      []*apigateway.Plan{{Stages: []string{API + "/" + Stage}, Keys: []string{"key1"}}},
	}
}

func caller() *apigateway.Principal {
	return &apigateway.Principal{
		SecretAccessKey: SecretAccessKey,
		SessionToken:    SessionToken,
		ARN:             callerARN,
		RoleARN:         roleARN,
		Policy:          allowPrivilege,
	}
}

func domains() map[string]*apigateway.Domain {
	return map[string]*apigateway.Domain{
		PartnersDomain: {Mappings: []apigateway.Mapping{{API: PartnersAPI, Stage: Stage}}},
		CatalogDomain: {
			Private: true, ID: "k1l2m3",
			Mappings:     []apigateway.Mapping{{API: API, Stage: Stage}},
			Associations: []string{EndpointID},
			Policy:       throughEndpoint,
		},
	}
}

// resources is the tree of both APIs: what the targets call, and a path for
// each authorization that scenarios need.
func resources() map[string]map[string]*apigateway.Method {
	healthy := apigateway.Integration{Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"status":"ok","checks":[{"name":"database","state":"up"}]}`}
	token := apigateway.Authorizer{Token: BearerToken}
	get := func(m apigateway.Method) map[string]*apigateway.Method {
		m.Integration = healthy
		return map[string]*apigateway.Method{http.MethodGet: &m}
	}
	return map[string]map[string]*apigateway.Method{
		"/health":   get(apigateway.Method{Auth: apigateway.IAM}),
		"/invoices": get(apigateway.Method{KeyRequired: true}),
		"/items":    get(apigateway.Method{Auth: apigateway.IAM}),
		"/status":   get(apigateway.Method{}),
		"/guarded":  get(apigateway.Method{Auth: apigateway.Lambda, Authorizer: token}),
		"/pool":     get(apigateway.Method{Auth: apigateway.Cognito, Authorizer: token}),
	}
}
