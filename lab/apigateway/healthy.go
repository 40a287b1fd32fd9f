package apigateway

import "net/http"

// allowAll is the identity-based policy of the principals of Healthy.
const allowAll = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}}`

// onlyThroughEndpoint is the Developer Guide's resource policy for a private
// API: everyone, but only through this VPC endpoint.
const onlyThroughEndpoint = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"execute-api:/*"},
	{"Effect":"Deny","Principal":"*","Action":"execute-api:Invoke","Resource":"execute-api:/*",
	 "Condition":{"StringNotEquals":{"aws:SourceVpce":"` + EndpointID + `"}}}]}`

// Healthy describes a private API that everybody in the VPC can call, and
// beside it a regional API, an HTTP API, a private and two public custom
// domains. Each call returns a State of its own, free to be changed.
//
// Below the stage: GET /health (no authorization), /signed (AWS_IAM), /guarded
// (a Lambda authorizer), /pool (Cognito), /keyed (API key), ANY /echo (the
// request as the backend saw it), GET /orders/{id}, ANY /files/{proxy+}.
func Healthy() *State {
	private := &API{
		Type:       Private,
		Endpoints:  []string{EndpointID},
		Definition: Definition{Policy: onlyThroughEndpoint, Resources: healthyResources()},
		Stages:     map[string]*Stage{StageName: {}},
	}
	private.Deploy()
	regional := &API{
		Type:       Regional,
		Definition: Definition{Resources: healthyResources()},
		Stages:     map[string]*Stage{StageName: {}},
	}
	regional.Deploy()
	overHTTP := &API{
		Type: Regional, HTTP: true,
		Definition: Definition{Resources: healthyResources()},
		Stages:     map[string]*Stage{StageName: {}},
	}
	overHTTP.Deploy()
	return &State{
		Region: Region, Account: Account,
		APIs:       map[string]*API{PrivateAPI: private, RegionalAPI: regional, HTTPAPI: overHTTP},
		Domains:    healthyDomains(),
		Endpoints:  map[string]*Endpoint{EndpointID: {}},
		Principals: healthyPrincipals(),
		Keys:       map[string]*Key{"key1": {Value: APIKey}},
		Plans: []*Plan{{
			Stages: []string{PrivateAPI + "/" + StageName, RegionalAPI + "/" + StageName},
			Keys:   []string{"key1"},
		}},
	}
}

func healthyResources() map[string]map[string]*Method {
	ok := Integration{Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"status":"ok"}`}
	echo := Integration{Behavior: Echoes}
	token := Authorizer{Token: BearerToken}
	return map[string]map[string]*Method{
		"/health":         {"GET": {Integration: ok}, "POST": {Integration: ok}, "HEAD": {Integration: ok}},
		"/signed":         {"GET": {Auth: IAM, Integration: ok}, "POST": {Auth: IAM, Integration: ok}},
		"/guarded":        {"GET": {Auth: Lambda, Authorizer: token, Integration: ok}},
		"/pool":           {"GET": {Auth: Cognito, Authorizer: token, Integration: ok}},
		"/keyed":          {"GET": {KeyRequired: true, Integration: ok}},
		"/echo":           {"ANY": {Integration: echo}},
		"/orders/{id}":    {"GET": {Integration: ok}},
		"/files/{proxy+}": {"ANY": {Integration: echo}},
	}
}

func healthyDomains() map[string]*Domain {
	return map[string]*Domain{
		PrivateDomain: {
			Private: true, ID: healthyDomain,
			Mappings:     []Mapping{{API: PrivateAPI, Stage: StageName}},
			Associations: []string{EndpointID},
			Policy:       onlyThroughEndpoint,
		},
		PublicDomain: {Mappings: []Mapping{{API: RegionalAPI, Stage: StageName}}},
		HTTPDomain:   {Mappings: []Mapping{{API: HTTPAPI, Stage: StageName}}},
	}
}

func healthyPrincipals() map[string]*Principal {
	return map[string]*Principal{
		AccessKeyID: {
			SecretAccessKey: SecretAccessKey,
			ARN:             "arn:aws:iam::" + Account + ":user/prober",
			Organization:    organization,
			Policy:          allowAll,
		},
		RoleAccessKeyID: {
			SecretAccessKey: RoleSecretAccessKey,
			SessionToken:    RoleSessionToken,
			ARN:             "arn:aws:sts::" + Account + ":assumed-role/prober/i-0123456789abcdef0",
			Organization:    organization,
			Policy:          allowAll,
		},
	}
}
