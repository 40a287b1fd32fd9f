package followup

import (
	"slices"

	"vpcprobe/probes"
	"vpcprobe/probes/handshake"
	"vpcprobe/probes/invoke"
)

// Rules are the root causes that share an answer with others: those that
// follow-up requests tell apart, as far as the wire does.
var Rules = slices.Concat(policyRules, routeRules, nameRules, pathRules, strangerRules)

// The documents that the rules rest on.
const (
	forbidden403 = "AWS re:Post Knowledge Center, api-gateway-troubleshoot-403-forbidden"
	privateFail  = "AWS re:Post Knowledge Center, api-gateway-private-endpoint-connection"
	mutualFail   = "AWS re:Post Knowledge Center, api-gateway-mutual-tls-403-errors"
	guide        = "API Gateway Developer Guide, "
	denials      = "IAM User Guide, troubleshoot_access-denied"
)

// setPolicy is how a policy gets in: the value of the operation is a string, so
// the shorthand syntax of the command line does not take it as it is.
const setPolicy = "Set it: jq -n --rawfile p policy.json '[{op:\"replace\",path:\"/policy\",value:$p}]' > patch.json; aws apigateway update-rest-api --rest-api-id API --patch-operations file://patch.json. "

const redeploy = "A changed policy takes effect only after a deployment: aws apigateway create-deployment --rest-api-id API --stage-name STAGE."

var policyRules = []*probes.Rule{{
	ID:    "resource-policy-silent",
	Title: "The API's resource policy does not allow this call",
	Means: "No statement of the resource policy allows the caller, from where it calls, to invoke this path. A private API needs an explicit Allow, usually on aws:SourceVpce or aws:SourceVpc; " +
		"aws:SourceIp does not work through a VPC endpoint (aws:VpcSourceIp does). On a private custom domain it may be the domain's own policy: the resource in the message then names /domainnames/.",
	Fix: "Read it: aws apigateway get-rest-api --rest-api-id API --query policy. Allow the endpoint with the statement {\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"execute-api:Invoke\",\"Resource\":\"execute-api:/*\",\"Condition\":{\"StringEquals\":{\"aws:SourceVpce\":\"VPCE_ID\"}}} " +
		"in policy.json. " + setPolicy + redeploy + " The message names one policy at a time: call again afterwards.",
	Source: privateFail + "; " + forbidden403 + "; " + guide + "apigateway-resource-policies-examples",
	Match:  means("resource-policy-silent"),
	Notes:  notes(),
}, {
	ID:    "resource-policy-denies",
	Title: "The API's resource policy denies this call",
	Means: "A statement with Effect Deny in the resource policy matches the call, and a Deny wins over every Allow. Most often it is the one that denies all but one VPC endpoint, and this call comes through another one, or the statement uses aws:SourceIp, which no call through an endpoint meets.",
	Fix: "Read it: aws apigateway get-rest-api --rest-api-id API --query policy, and compare the Deny's condition with the endpoint in use (aws:SourceVpce, aws:SourceVpc, aws:VpcSourceIp). Change it in policy.json. " +
		setPolicy + redeploy,
	Source: forbidden403 + "; " + guide + "apigateway-resource-policies-examples",
	Match:  means("resource-policy-denies"),
	Notes:  notes(),
}, {
	ID:    "endpoint-policy-silent",
	Title: "The VPC endpoint's policy does not allow this call",
	Means: "The interface endpoint has a policy of its own, which is evaluated before the API's, and no statement of it allows this caller to invoke this API. The API's own resource policy may be fine.",
	Fix: "Read it: aws ec2 describe-vpc-endpoints --vpc-endpoint-ids VPCE_ID --query 'VpcEndpoints[].PolicyDocument'. Allow execute-api:Invoke on arn:aws:execute-api:REGION:ACCOUNT:API/* (and for private custom domains on the domain name's ARN, too): " +
		"aws ec2 modify-vpc-endpoint --vpc-endpoint-id VPCE_ID --policy-document file://policy.json. No deployment is needed.",
	Source: privateFail + "; " + guide + "apigateway-vpc-endpoint-policies; transcripts of answers seen in 2025",
	Match:  means("endpoint-policy-silent"),
	Notes:  notes(),
}, {
	ID:    "endpoint-policy-denies",
	Title: "The VPC endpoint's policy denies this call",
	Means: "The message says that a statement with Effect Deny in the policy of the interface endpoint matches the call. IAM's documents list this wording, but it has not been seen from API Gateway, so this is graded possible.",
	Fix: "Read it: aws ec2 describe-vpc-endpoints --vpc-endpoint-ids VPCE_ID --query 'VpcEndpoints[].PolicyDocument', and narrow the Deny: " +
		"aws ec2 modify-vpc-endpoint --vpc-endpoint-id VPCE_ID --policy-document file://policy.json.",
	Source: denials + "; " + guide + "apigateway-vpc-endpoint-policies",
	Match:  means("endpoint-policy-denies"),
	Notes:  notes(),
}, {
	ID:    "identity-policy-silent",
	Title: "The caller's IAM policies do not allow this call",
	Means: "The signature is valid and the caller is known, but none of its identity-based policies allows execute-api:Invoke on this method, and the resource policy does not allow it either. Within one account either is enough; across accounts both must allow.",
	Fix: "Give the role in the message {\"Effect\":\"Allow\",\"Action\":\"execute-api:Invoke\",\"Resource\":\"arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/PATH\"}: aws iam put-role-policy --role-name ROLE --policy-name invoke --policy-document file://policy.json. " +
		"Check: aws iam simulate-principal-policy --policy-source-arn ROLE_ARN --action-names execute-api:Invoke --resource-arns METHOD_ARN.",
	Source: "AWS re:Post Knowledge Center, api-gateway-iam-sigv4-mismatch; " + guide + "apigateway-authorization-flow",
	Match:  means("identity-policy-silent"),
	Notes:  notes(),
}, {
	ID:     "identity-policy-denies",
	Title:  "An IAM policy of the caller denies this call",
	Means:  "The signature is valid and the caller is known, and a statement with Effect Deny in one of its identity-based policies matches execute-api:Invoke on this method. A Deny wins over every Allow.",
	Fix:    "Find it: aws iam simulate-principal-policy --policy-source-arn ROLE_ARN --action-names execute-api:Invoke --resource-arns METHOD_ARN --query 'EvaluationResults[].MatchedStatements', and narrow the statement in the role's or its group's policy.",
	Source: forbidden403 + "; " + denials,
	Match:  means("identity-policy-denies"),
	Notes:  notes(),
}, {
	ID:    "organization-policy-denies",
	Title: "A guardrail denies this call: SCP, RCP, permissions boundary or session policy",
	Means: "Neither the API nor the caller's own policies are at fault: a service or resource control policy of the organization, a permissions boundary or a session policy limits what the caller may do, by a Deny or by not allowing it. The message says which kind; since 2026 it may end with the policy's ARN.",
	Fix: "SCP and RCP: aws organizations list-policies-for-target --target-id ACCOUNT --filter SERVICE_CONTROL_POLICY (or RESOURCE_CONTROL_POLICY), to be changed by the organization's administrators. Boundary: aws iam get-role --role-name ROLE --query Role.PermissionsBoundary. " +
		"Session policy: see what is passed to sts assume-role.",
	Source: denials,
	Match:  means("organization-policy-denies"),
	Notes:  notes(),
}, {
	ID:    "caller-anonymous",
	Title: "API Gateway counts the caller as anonymous, and the policy names principals",
	Means: "API Gateway looks at who signed only where the method's authorization is AWS_IAM. For any other method, and for an unsigned request, the caller is anonymous, and a resource policy whose Principal is an account, role or user does not allow it. It reads the same as a policy that does not allow the endpoint.",
	Fix: "Either let the method identify callers and have them sign: aws apigateway update-method --rest-api-id API --resource-id ID --http-method METHOD --patch-operations op=replace,path=/authorizationType,value=AWS_IAM, and sign: true in the target; or set \"Principal\":\"*\" with a Condition on aws:SourceVpce in the resource policy. " +
		redeploy,
	Source: guide + "apigateway-private-api-create; " + forbidden403,
	Match:  means("caller-anonymous"),
	Notes:  notes(),
}, {
	ID:     "authorizer-denies",
	Title:  "The method's authorizer denies this call",
	Means:  "The method's Lambda authorizer accepted the request as one to judge and returned a policy with an explicit Deny for it; or its JWT authorizer took the token, which has none of the scopes that the method requires. The way to the API is fine; the token or the caller is not allowed.",
	Fix:    "For a JWT authorizer, compare the token's scope or scp claim with the method's: aws apigateway get-method --rest-api-id API --resource-id ID --http-method METHOD --query authorizationScopes. For a Lambda authorizer, read its log for the request (aws logs tail /aws/lambda/FUNCTION), and test it: aws apigateway test-invoke-authorizer --rest-api-id API --authorizer-id ID --headers Authorization=TOKEN. Results are cached by token: aws apigateway flush-stage-authorizers-cache --rest-api-id API --stage-name STAGE.",
	Source: forbidden403 + "; " + guide + "apigateway-use-lambda-authorizer; rest-api-jwt-authorizer-methods (403 Forbidden without a scope; its error type is not documented)",
	Match:  means("authorizer-denies"),
	Notes:  notes(),
}, {
	ID:    "authorizer-policy-narrow",
	Title: "The Lambda authorizer's policy does not cover this path",
	Means: "The authorizer returned a policy whose Resource does not cover this method. Often the policy was made for another path and came from the authorizer's cache, which is keyed by the token and not by the path.",
	Fix: "Let the authorizer return a Resource that covers all that the token may call (arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/*), or switch its cache off: aws apigateway update-authorizer --rest-api-id API --authorizer-id ID --patch-operations op=replace,path=/authorizerResultTtlInSeconds,value=0. " +
		"Meanwhile: aws apigateway flush-stage-authorizers-cache --rest-api-id API --stage-name STAGE.",
	Source: forbidden403 + "; " + guide + "api-gateway-lambda-authorizer-output",
	Match:  means("authorizer-policy-narrow"),
	Notes:  notes(),
}}

var routeRules = []*probes.Rule{{
	ID:    "api-key-rejected",
	Title: "The method requires an API key, and the one sent, or its absence, is refused",
	Means: "API Gateway answers Forbidden, without a reason, where a key is missing, unknown, disabled, or not in a usage plan that holds this stage. Another path of the same stage gets further, unless every path, a greedy {proxy+} included, requires a key.",
	Fix: "aws apigateway get-method --rest-api-id API --resource-id ID --http-method METHOD --query apiKeyRequired; aws apigateway get-api-key --api-key KEY_ID --query enabled (KEY_ID, not its value); aws apigateway get-usage-plans --key-id KEY_ID --query 'items[].apiStages'. " +
		"Join them: aws apigateway update-usage-plan --usage-plan-id PLAN --patch-operations op=add,path=/apiStages,value=API:STAGE. In the target set api_key.",
	Source: forbidden403 + "; " + guide + "api-gateway-setup-api-key-with-console",
	Match:  means("api-key-rejected"),
	Notes:  notes(),
}, {
	ID:    "waf-blocked",
	Title: "A rule of AWS WAF blocks the request",
	Means: "The stage has a web ACL, and one of its rules blocks by the caller's address, country or rate, by the path, or by what the request holds. API Gateway then answers Forbidden before it looks at any policy.",
	Fix: "See whether there is one: aws apigateway get-stage --rest-api-id API --stage-name STAGE --query webAclArn. Which rule: aws wafv2 get-sampled-requests --web-acl-arn ARN --rule-metric-name NAME --scope REGIONAL --time-window StartTime=...,EndTime=... --max-items 100 (repeat for each rule), or the web ACL's log. " +
		"Exempt the caller: aws wafv2 update-ip-set, or set the rule to Count.",
	Source: forbidden403 + "; " + guide + "apigateway-control-access-aws-waf",
	Match:  means("waf-blocked"),
	Notes:  notes(),
}, {
	ID:     "stage-not-found",
	Title:  "The API has no such stage",
	Means:  "The first segment of the path names a stage that does not exist: it is misspelt, was deleted, or nothing was ever deployed to it. API Gateway answers Forbidden, not 404.",
	Fix:    "aws apigateway get-stages --rest-api-id API --query 'item[].stageName' lists them. Correct stage in the target and in callers, or deploy: aws apigateway create-deployment --rest-api-id API --stage-name STAGE.",
	Source: forbidden403,
	Match:  means("stage-not-found"),
	Notes:  notes(),
}, {
	ID:    "default-endpoint-disabled",
	Title: "The API's default endpoint is disabled",
	Means: "With disableExecuteApiEndpoint the API can be called by its custom domains only, and its default name is answered with Forbidden. Whether the endpoint's own name and the alias are refused as well has not been shown by anybody, so this stays a candidate until the control plane is read.",
	Fix: "aws apigateway get-rest-api --rest-api-id API --query disableExecuteApiEndpoint. Call the custom domain instead (kind: custom-domain), or enable it: aws apigateway update-rest-api --rest-api-id API --patch-operations op=replace,path=/disableExecuteApiEndpoint,value=False, " +
		"then aws apigateway create-deployment --rest-api-id API --stage-name STAGE.",
	Source: forbidden403 + "; " + guide + "rest-api-disable-default-endpoint",
	Match:  means("default-endpoint-disabled"),
	Notes:  notes(),
}, {
	ID:     "base-path-unmapped",
	Title:  "The custom domain has no mapping for this path",
	Means:  "The domain answers, but no API mapping covers the path that was asked for, so there is no API to pass the request to, and API Gateway answers Forbidden.",
	Fix:    "aws apigateway get-base-path-mappings --domain-name DOMAIN lists them (a private domain needs --domain-name-id). Add one: aws apigateway create-base-path-mapping --domain-name DOMAIN --rest-api-id API --stage STAGE (--base-path PATH). With routing rules, see aws apigatewayv2 list-routing-rules --domain-name DOMAIN.",
	Source: forbidden403 + "; " + guide + "rest-api-mappings",
	Match:  means("base-path-unmapped"),
	Notes:  notes(),
}, {
	ID:    "client-cert-distrusted",
	Title: "API Gateway does not trust the client certificate and answers 403",
	Means: "The domain asks for a client certificate and got one. API Gateway completes the handshake with any certificate and then answers Forbidden if its issuer is not in the truststore, if it is self-signed, or if its signature is weak. It tells the reason in the execution log only: " +
		"\"Access denied. Reason: Could not find issuer for certificate\", \"... Client cert using an insecure Signature Algorithm\" or \"... self signed certificate\".",
	Fix: "Judge the files against the truststore in use: aws apigateway get-domain-name --domain-name DOMAIN --query mutualTlsAuthentication names it (and its warnings); aws s3 cp s3://BUCKET/bundle.pem . ; vpcprobe cert --certificate client.pem --key client.key --truststore bundle.pem. " +
		"After uploading a new bundle: aws apigateway update-domain-name --domain-name DOMAIN --patch-operations op=replace,path=/mutualTlsAuthentication/truststoreVersion,value=VERSION.",
	Source: mutualFail + "; " + guide + "rest-api-mutual-tls",
	Match:  means("client-cert-distrusted"),
	Notes:  notes(handshake.NotesReplaced, accessLog),
}}

var nameRules = []*probes.Rule{{
	ID:     "host-not-recognized",
	Title:  "API Gateway does not recognize an API in the host name",
	Means:  "Requests reach API Gateway, but neither the Host header nor x-apigw-api-id names an API to it. With the endpoint's own name one of the two must be sent; a Host with another suffix or region, one that a proxy rewrote, or the name of a load balancer before the endpoint, is not recognized.",
	Fix:    "With the endpoint's own name send the API's id: curl https://ENDPOINT_DNS_NAME/STAGE/PATH -H 'x-apigw-api-id: API' (in the target: via: [endpoint], with api). With the API's own name, see what Host arrives at the endpoint, and check region and dns_suffix: amazonaws.com, in China amazonaws.com.cn. To a load balancer before the endpoint, send x-apigw-api-id as well (in the target: headers).",
	Source: forbidden403 + "; " + guide + "apigateway-private-api-test-invoke-url",
	Match:  means("host-not-recognized"),
	Notes:  notes(),
}, {
	ID:    "strict-endpoint-access",
	Title: "The API's endpoint access mode is STRICT, which the endpoint's own name does not meet",
	Means: "In STRICT mode the name in the TLS client hello (SNI) must be the Host, and the API's own. The endpoint's own name with x-apigw-api-id cannot meet that: it needs BASIC. What API Gateway answers then is not documented.",
	Fix: "Call the API's own name ({api}.execute-api.{region}.amazonaws.com, with private DNS) or the alias. Or set BASIC: aws apigateway update-rest-api --rest-api-id API --patch-operations op=replace,path=/endpointAccessMode,value=BASIC; " +
		"the change takes about 15 minutes, during which the API is unavailable. See it: aws apigateway get-rest-api --rest-api-id API --query endpointAccessMode.",
	Source: guide + "apigateway-security-policies",
	Match:  means("strict-endpoint-access"),
	Notes:  notes(),
}, {
	ID:    "public-api-captured",
	Title: "The API is a public one, and the endpoint's private DNS captures its name",
	Means: "With private DNS, every name below execute-api in the region leads to the VPC endpoint, those of Regional and edge-optimized APIs included. The endpoint serves private APIs only, so it answers Forbidden.",
	Fix: "aws apigateway get-rest-api --rest-api-id API --query endpointConfiguration.types. For a public API called from this VPC, give it a custom domain (aws apigateway create-domain-name) and call that, or switch private DNS off: aws ec2 modify-vpc-endpoint --vpc-endpoint-id VPCE_ID --no-private-dns-enabled, " +
		"and call private APIs by the endpoint's own name.",
	Source: "AWS re:Post Knowledge Center, api-gateway-vpc-connections",
	Match:  means("public-api-captured"),
	Notes:  notes(),
}, {
	ID:     "api-not-found",
	Title:  "There is no API with this id in the region",
	Means:  "The id is misspelt, the API was deleted, or it is one of another region or account. That API Gateway answers Forbidden then is inferred from how it answers for unknown hosts and stages; nobody has published it.",
	Fix:    "aws apigateway get-rest-api --rest-api-id API --region REGION; aws apigateway get-rest-apis --query 'items[].[id,name]'. Correct api and region in the target and in callers.",
	Source: "inferred from the neighbouring cases in " + forbidden403,
	Match:  means("api-not-found"),
	Notes:  notes(),
}, {
	ID:    "domain-not-associated",
	Title: "The private custom domain is not associated with the VPC endpoint",
	Means: "A private custom domain answers only through endpoints that it has an access association with. What API Gateway answers without one is not documented, so this is graded possible.",
	Fix: "aws apigateway get-domain-name-access-associations. Create it: aws apigateway create-domain-name-access-association --domain-name-arn ARN --access-association-source VPCE_ID --access-association-source-type VPCE; it takes about 15 minutes. " +
		"Across accounts, accept the resource share within 12 hours: aws ram get-resource-share-invitations; aws ram accept-resource-share-invitation --resource-share-invitation-arn ARN.",
	Source: guide + "apigateway-private-custom-domains",
	Match:  means("domain-not-associated"),
	Notes:  notes(),
}}

var pathRules = []*probes.Rule{{
	ID:     "request-unsigned",
	Title:  "The method wants a signed request, and this one is not signed",
	Means:  "A method whose authorization is AWS_IAM answers an unsigned request with Missing Authentication Token. So does API Gateway for a path, method or deployment that does not exist.",
	Fix:    "aws apigateway get-method --rest-api-id API --resource-id ID --http-method METHOD --query authorizationType. If it is AWS_IAM, set sign: true in the target, and let callers sign: curl --aws-sigv4 'aws:amz:REGION:execute-api' --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -H \"x-amz-security-token: $AWS_SESSION_TOKEN\".",
	Source: forbidden403,
	Match:  means("request-unsigned"),
	Notes:  notes(),
}, {
	ID:     "path-not-found",
	Title:  "The deployed API has no such path",
	Means:  "API Gateway found the API and its stage, but not the path. It says Missing Authentication Token for that, not 404 (and complains about the Authorization header, if there is one that is no signature).",
	Fix:    "See what is deployed: aws apigateway get-export --rest-api-id API --stage-name STAGE --export-type oas30 api.json. Correct path in the target and in callers: it is case-sensitive, and a final slash counts.",
	Source: forbidden403,
	Match:  means("path-not-found"),
	Notes:  notes(),
}, {
	ID:     "method-not-found",
	Title:  "The path has no such method",
	Means:  "API Gateway found the path, but not the HTTP method. It says Missing Authentication Token for that, not 405.",
	Fix:    "aws apigateway get-resources --rest-api-id API --embed methods lists them. Correct method in the target and in callers.",
	Source: "transcripts of answers seen; " + forbidden403,
	Match:  means("method-not-found"),
	Notes:  notes(),
}, {
	ID:     "not-redeployed",
	Title:  "The path or method is defined, but not in what is deployed",
	Means:  "Changes to an API take effect when it is deployed to the stage. The console shows the definition, while callers get the last deployment, which lacks the path: Missing Authentication Token.",
	Fix:    "Compare aws apigateway get-export --rest-api-id API --stage-name STAGE --export-type oas30 api.json (deployed) with aws apigateway get-resources --rest-api-id API (defined). Deploy: aws apigateway create-deployment --rest-api-id API --stage-name STAGE.",
	Source: forbidden403 + " (deployed with the latest definition)",
	Match:  means("not-redeployed"),
	Notes:  notes(),
}, {
	ID:     "stage-in-path",
	Title:  "The stage is left in the path of a custom domain",
	Means:  "A custom domain's mapping already names API and stage. With the stage in the path, API Gateway looks for a resource of that name, finds none, and says Missing Authentication Token.",
	Fix:    "Take the stage out of the path: https://DOMAIN/BASE_PATH/RESOURCE. The mapping: aws apigateway get-base-path-mappings --domain-name DOMAIN.",
	Source: forbidden403,
	Match:  means("stage-in-path"),
	Notes:  notes(),
}, {
	ID:    "authorization-malformed",
	Title: "The Authorization header is no signature, where one is expected",
	Means: "API Gateway tried to read the header as a SigV4 signature and could not: the method's authorization is AWS_IAM and a bearer token or something else was sent, a proxy changed the header, or the VPC endpoint has a policy of its own, in which case bearer tokens were seen to be refused (AWS's documents say they count as anonymous).",
	Fix: "Send what the method wants: aws apigateway get-method --rest-api-id API --resource-id ID --http-method METHOD --query authorizationType. For a token, the method needs an authorizer. If the endpoint's policy is the reason (aws ec2 describe-vpc-endpoints --vpc-endpoint-ids VPCE_ID --query 'VpcEndpoints[].PolicyDocument'), go back to the default policy, " +
		"or let the token travel in another header and set it as the authorizer's identity source.",
	Source: forbidden403 + "; " + guide + "apigateway-vpc-endpoint-policies; a published counter-example of June 2025",
	Match:  means("authorization-malformed"),
	Notes:  notes(),
}}

var strangerRules = []*probes.Rule{{
	ID:    "not-api-gateway",
	Title: "Something other than API Gateway answers in its place",
	Means: "The answer, be its status a good one, bears none of the marks that API Gateway returns with the answers of a REST API (x-amzn-requestid, x-amz-apigw-id), or is not HTTP at all. The server's certificate was trusted, so it is a load balancer, a CDN, a reverse proxy or another web server at the address that the name leads to: the request did not reach the API. " +
		"(What is put before a custom domain may also pass on the API's answer and take the marks away.) " +
		"Where the answer bears no mark of anybody, a proxy or a firewall on the way may have written it as well.",
	Fix: "See who it is: the notes name the Server header. For a load balancer, look at its rules and targets: aws elbv2 describe-rules, aws elbv2 describe-target-health. Otherwise compare with the endpoint's own name: curl -v https://ENDPOINT_DNS_NAME/STAGE/PATH -H 'x-apigw-api-id: API'. " +
		"A public page under control in the target, such as control: {url: \"https://checkip.amazonaws.com/\"}, shows whether something answers for everything. If it is the API, and something on the way takes the marks out of its answers, say what a good answer is under expect (status, body or json): then they are not looked for.",
	Source: forbidden403 + " (consider the source of the error); " + guide + "set-up-access-logging (the headers of the answer)",
	Match:  notGateway,
	Notes:  notes(invoke.Excerpts),
}, {
	ID:    "proxy-in-the-way",
	Title: "A forward proxy or firewall answers instead of the API",
	Means: "The answer bears the marks of a proxy (Via, Proxy-Authenticate, its own Server header); or it bears no mark of anybody, as the pages of firewalls and captive portals do, and a web server in the API's place cannot be told from one, unless the same answer comes in place of a page of somebody else (the target's control). The reverse proxy that a custom domain may have sets Via, too. " +
		"The request never reached API Gateway: the proxy ends TLS with an authority that is trusted here, and answers by itself.",
	Fix:    "Exempt the API's names from the proxy: NO_PROXY=.execute-api.REGION.amazonaws.com,.vpce.amazonaws.com for callers, and an exception from TLS inspection in the proxy or firewall. Traffic to a VPC endpoint needs no proxy.",
	Source: forbidden403 + " (consider the source of the error)",
	Match:  means("proxy-in-the-way"),
	Notes:  notes(invoke.Excerpts),
}}

// notGateway: an answer without API Gateway's marks, or one that is not HTTP.
func notGateway(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
	sure, because := means("not-api-gateway")(seen)
	garbled := probes.Filter(invoke.Blamed(seen), func(o probes.Observation) bool {
		a := invoke.Of(o)
		return o.Outcome == probes.NotHTTP && a != nil && a.Method != ""
	})
	if garbled != nil {
		sure, because = max(sure, probes.Likely), append(because, garbled...)
	}
	return sure, because
}
