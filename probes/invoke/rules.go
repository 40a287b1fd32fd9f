package invoke

import (
	"fmt"
	"slices"
	"time"

	"vpcprobe/probes"
)

// Rules are the root causes that one answer shows by itself. Those that need
// follow-up requests, and those that share an answer with them, are in package
// followup.
var Rules = slices.Concat(callerRules, gatewayRules, backendRules, answerRules)

var callerRules = []*probes.Rule{{
	ID:    "credentials-missing",
	Title: "The agent has no AWS credentials to sign with",
	Means: "The target asks for signed requests, and no source of the AWS default chain handed out credentials in time. Nothing was sent, " +
		"so this says nothing about the API: it is the agent's own trouble, and callers on the same machine most likely share it.",
	Fix: "Look at the source in the notes. On EC2 give the instance a role (aws ec2 associate-iam-instance-profile) and, for containers, a hop limit of 2: " +
		"aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required --http-put-response-hop-limit 2. On ECS set taskRoleArn; on EKS bind the service account to a role. " +
		"With web identity (IRSA) in an isolated VPC, create an interface endpoint for STS: aws ec2 create-vpc-endpoint --vpc-endpoint-type Interface --vpc-id VPC --subnet-ids SUBNET --security-group-ids SG --service-name com.amazonaws.REGION.sts.",
	Source: "AWS SDKs and Tools Reference Guide, standardized-credentials; EC2 User Guide, configuring-instance-metadata-options",
	Match:  credentialsMissing,
	Notes: told(func(_ probes.Evidence, _ probes.Observation, a *Answer) string {
		if a.Failed == nil {
			return ""
		}
		text := "source " + a.Failed.String()
		if a.Failed.Hint != "" {
			text += "; " + a.Failed.Hint
		}
		return text
	}),
}, {
	ID:     "secret-missing",
	Title:  "A configured secret cannot be read",
	Means:  "The API key, or a header whose value is kept as a secret, could not be read from its file or environment variable. Nothing was sent, so this says nothing about the API.",
	Fix:    "Check that the file exists, is readable by the agent's user and not empty (ls -l FILE; id), or that the variable is set. In Kubernetes look at the mounted Secret: kubectl describe pod POD.",
	Source: "The target's own configuration (api_key, headers)",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return faults(seen, func(o probes.Observation) bool { return isSecretFault(o.Err) })
	},
	Notes: told(func(_ probes.Evidence, o probes.Observation, _ *Answer) string { return o.Err.Error() }),
}, {
	ID:     "access-key-invalid",
	Title:  "AWS does not know the access key, or its session token",
	Means:  "The request was signed with an access key that does not exist, was deactivated or belongs to another partition, or with a session token that is not that key's. API Gateway refused it before it looked at any policy.",
	Fix:    "See whose key it is: aws sts get-caller-identity; aws iam list-access-keys --user-name USER; aws iam get-access-key-last-used --access-key-id ID. Replace the key, and where it is a temporary one, set AWS_SESSION_TOKEN with it.",
	Source: k0,
	Match:  means("access-key-invalid"),
	Notes:  notes(told(signedAs), Logs),
}, {
	ID:     "credentials-expired",
	Title:  "The temporary credentials have expired",
	Means:  "The request was signed with a session token whose time is over. Whatever handed it out did not renew it: a copied token, a cache, or a session that a person must renew.",
	Fix:    "Let the credentials come from a role, which renews itself (instance profile, task role, IRSA or Pod Identity), instead of copied AWS_SESSION_TOKEN values. By hand: aws sts get-caller-identity shows whether they work; aws sso login renews an SSO session.",
	Source: guide + "supported-gateway-response-types (EXPIRED_TOKEN)",
	Match:  means("credentials-expired"),
	Notes:  notes(told(signedAs), Logs),
}, {
	ID:     "clock-behind",
	Title:  "The local clock is slow, so signatures arrive expired",
	Means:  "A signature is good for five minutes around the time it states, by AWS's clock. This machine's clock is further behind than that, so every signed request is refused. A request that took that long to arrive, or that was signed once and is sent again (a copied curl command, a saved Authorization header), is answered the same.",
	Fix:    "Set the clock right: chronyc tracking, chronyc makestep; on EC2 use the Amazon Time Sync Service (server 169.254.169.123 prefer iburst in /etc/chrony.conf). For containers it is the host's clock.",
	Source: k0 + "; IAM User Guide, reference_sigv (five minutes)",
	Match:  means("clock-behind"),
	Notes:  notes(told(clock), Logs),
}, {
	ID:     "clock-ahead",
	Title:  "The local clock is fast, so signatures are not yet valid",
	Means:  "A signature is good for five minutes around the time it states, by AWS's clock. This machine's clock is further ahead than that, so every signed request is refused.",
	Fix:    "Set the clock right: chronyc tracking, chronyc makestep; on EC2 use the Amazon Time Sync Service (server 169.254.169.123 prefer iburst in /etc/chrony.conf). For containers it is the host's clock.",
	Source: "IAM User Guide, reference_sigv (five minutes); the message itself is known from other AWS services and has not been seen from API Gateway, so without a matching Date header this is graded possible",
	Match:  means("clock-ahead"),
	Notes:  notes(told(clock), Logs),
}, {
	ID:     "signature-mismatch",
	Title:  "The signature does not match the request",
	Means:  "AWS knows the access key, but computes another signature for what it received. Either the secret key is not that of the access key id, or the request was changed after it was signed: a proxy that rewrites Host, path, query or signed headers, or a caller that signs another Host than it sends.",
	Fix:    "Compare the secret with the key id (aws sts get-caller-identity with the same credentials). If that works, look for what changes the request on its way: the notes name the first difference, where API Gateway tells it. Sign the Host that is sent: with the endpoint's own name and x-apigw-api-id that is the endpoint's name.",
	Source: k0,
	Match:  means("signature-mismatch"),
	Notes:  notes(told(signedAs), told(func(_ probes.Evidence, _ probes.Observation, a *Answer) string { return a.Differs }), Logs),
}, {
	ID:     "signing-scope-wrong",
	Title:  "The signature is scoped to the wrong region or service",
	Means:  "A signature names the region and the service that it is for. This one names others than those of the API that received it: the region of the target is not the API's, or the caller signs for another service than execute-api.",
	Fix:    "Set the target's region to that of the API (it is part of its default name: {api}.execute-api.{region}.amazonaws.com), and in callers sign for service execute-api: curl --aws-sigv4 'aws:amz:REGION:execute-api' --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -H \"x-amz-security-token: $AWS_SESSION_TOKEN\". For a custom domain: aws apigateway get-domain-name --domain-name NAME --query regionalDomainName.",
	Source: "Signature Version 4 in the IAM User Guide, reference_sigv; transcripts of answers seen",
	Match:  means("signing-scope-wrong"),
	Notes:  notes(told(signedAs), Logs),
}}

var gatewayRules = []*probes.Rule{{
	ID:     "authorizer-unauthorized",
	Title:  "The authorizer found no valid token in the request",
	Means:  "The method has a Lambda, JWT or Cognito authorizer, and the identity source it looks at (usually the Authorization header) is missing or does not hold, or the authorizer function answered Unauthorized. No policy was looked at.",
	Fix:    "Send what the authorizer expects: aws apigateway get-authorizers --rest-api-id API shows identitySource and its validation expression. Test a token: aws apigateway test-invoke-authorizer --rest-api-id API --authorizer-id ID --headers Authorization=TOKEN. In the target, put it under headers with secret.",
	Source: guide + "apigateway-use-lambda-authorizer; supported-gateway-response-types (UNAUTHORIZED)",
	Match:  means("authorizer-unauthorized"),
	Notes:  Logs,
}, {
	ID:     "authorizer-failed",
	Title:  "The method's authorizer failed",
	Means:  "API Gateway could not call the authorizer, or got nothing usable from it: the function crashed or timed out, its answer is no policy, or API Gateway may not invoke it. The caller did nothing wrong. Which answer API Gateway gives then is not documented in full, so this is graded possible.",
	Fix:    "Read the authorizer's log (aws logs tail /aws/lambda/FUNCTION), test it (aws apigateway test-invoke-authorizer --rest-api-id API --authorizer-id ID) and its permission: aws lambda get-policy --function-name FUNCTION must allow apigateway.amazonaws.com.",
	Source: guide + "supported-gateway-response-types (AUTHORIZER_FAILURE, AUTHORIZER_CONFIGURATION_ERROR)",
	Match:  means("authorizer-failed"),
	Notes:  Logs,
}, {
	ID:     "throttled",
	Title:  "The request rate exceeds a limit",
	Means:  "The account's, the stage's, the method's or the usage plan's rate or burst is exceeded: by the callers together, not by this agent alone. The API itself works.",
	Fix:    "See which limit: aws apigateway get-stage --rest-api-id API --stage-name STAGE --query methodSettings; aws apigateway get-usage-plans --query 'items[].throttle'; aws apigateway get-account --query throttleSettings. Raise it, or let callers back off.",
	Source: guide + "api-gateway-request-throttling",
	Match:  means("throttled"),
	Notes:  Logs,
}, {
	ID:     "quota-exceeded",
	Title:  "The usage plan's quota is spent",
	Means:  "The API key's usage plan allows a number of requests per day, week or month, and that number is used up. Waiting a moment does not help; API Gateway sends no Retry-After.",
	Fix:    "aws apigateway get-usage --usage-plan-id PLAN --key-id KEY --start-date DATE --end-date DATE shows it. Extend it for this key: aws apigateway update-usage --usage-plan-id PLAN --key-id KEY --patch-operations op=replace,path=/remaining,value=N, or raise the plan's quota.",
	Source: guide + "api-gateway-api-usage-plans",
	Match:  means("quota-exceeded"),
	Notes:  Logs,
}, {
	ID:     "request-invalid",
	Title:  "API Gateway's request validation refuses the request",
	Means:  "The request reached the method, but lacks a required parameter or header, its body does not fit the model, or it is too large or of an unsupported type. The way to the API is fine: it is what the agent sends that is wrong.",
	Fix:    "The message says what is missing. Compare with the method: aws apigateway get-method --rest-api-id API --resource-id ID --http-method METHOD (requestParameters, requestModels, requestValidatorId), and set headers, body or the query of path in the target.",
	Source: guide + "api-gateway-method-request-validation",
	Match:  means("request-invalid"),
	Notes:  Logs,
}, {
	ID:     "waf-challenge",
	Title:  "AWS WAF challenges the agent instead of letting it pass",
	Means:  "A rule of the web ACL answers with a silent challenge (202) or a CAPTCHA (405), which only a browser can solve. A synthetic client cannot pass, and neither can any other program.",
	Fix:    "Find the rule: aws wafv2 get-sampled-requests (or the web ACL's log), and exempt the agent and other programs, for example by a scope-down statement on a header or an IP set: aws wafv2 update-web-acl.",
	Source: "AWS WAF Developer Guide, waf-captcha-and-challenge",
	Match:  means("waf-challenge"),
	Notes:  Logs,
}, {
	ID:     "waf-failed",
	Title:  "The evaluation of the API's web ACL failed",
	Means:  "API Gateway asked AWS WAF about the request and got no verdict. The request was refused without being judged.",
	Fix:    "Look whether the web ACL still exists and is associated: aws apigateway get-stage --rest-api-id API --stage-name STAGE --query webAclArn; aws wafv2 get-web-acl-for-resource --resource-arn STAGE_ARN. Associate it anew (aws wafv2 associate-web-acl), and see the AWS Health Dashboard.",
	Source: guide + "apigateway-control-access-aws-waf; the message itself",
	Match:  means("waf-failed"),
	Notes:  Logs,
}}

var backendRules = []*probes.Rule{{
	ID:     "backend-denied",
	Title:  "The backend behind the API denies the request",
	Means:  "The answer came through API Gateway without an error type (an HTTP API: with words that are not its own, or that others use as well), so API Gateway let the request pass and what is behind it refused. (A gateway response customized beyond recognition looks the same.)",
	Fix:    "Read the backend's own log and authorization. If it is a customized gateway response (aws apigateway get-gateway-responses --rest-api-id API), teach the agent what it means under recognize.",
	Source: k0 + "; inferred from the missing x-amzn-errortype",
	Match:  means("backend-denied"),
	Notes:  notes(told(excerpt), Logs),
}, {
	ID:     "backend-error",
	Title:  "The backend behind the API fails",
	Means:  "The answer came through API Gateway without an error type (an HTTP API: with words that are not its own, or that others use as well): the request passed every check, and the backend, or the VPC link to it, answered with an error or was not available.",
	Fix:    "Read the backend's log for the request (X-Amzn-Trace-Id joins them). For a VPC link look at the load balancer's targets: aws elbv2 describe-target-health --target-group-arn ARN; aws apigateway get-vpc-links.",
	Source: guide + "api-gateway-integration-settings; inferred from the missing x-amzn-errortype",
	Match:  means("backend-error"),
	Notes:  notes(told(excerpt), Logs),
}, {
	ID:     "integration-failed",
	Title:  "API Gateway cannot use the method's integration",
	Means:  "The request passed every check, and then API Gateway could not call the integration or could not use its answer: it may not invoke the function, a mapping fails, a proxy integration's answer has the wrong shape, or the VPC link does not reach the backend.",
	Fix:    "The execution log names it. Permission: aws lambda get-policy --function-name FUNCTION, aws lambda add-permission --function-name FUNCTION --statement-id apigateway --action lambda:InvokeFunction --principal apigateway.amazonaws.com --source-arn arn:aws:execute-api:REGION:ACCOUNT:API/*. Shape: a proxy integration must return {\"statusCode\":200,\"headers\":{},\"body\":\"...\"}. Network: aws apigateway get-vpc-link, aws elbv2 describe-target-health.",
	Source: guide + "handle-errors-in-lambda-integration; supported-gateway-response-types (INTEGRATION_FAILURE, API_CONFIGURATION_ERROR)",
	Match:  means("integration-failed"),
	Notes:  Logs,
}, {
	ID:     "integration-timeout",
	Title:  "The backend does not answer within API Gateway's own limit",
	Means:  "The request passed every check, and the integration took longer than its timeout, 29 seconds unless changed. The path to the API is fine; the backend is slow or hangs.",
	Fix:    "Look at the backend's duration and what it waits for (IntegrationLatency in CloudWatch). The limit is aws apigateway get-integration --rest-api-id API --resource-id ID --http-method METHOD --query timeoutInMillis, and can be raised for Regional and private APIs by a quota request.",
	Source: guide + "supported-gateway-response-types (INTEGRATION_TIMEOUT); limits",
	Match:  means("integration-timeout"),
	Notes:  Logs,
}}

var answerRules = []*probes.Rule{{
	ID:     "answer-timeout",
	Title:  "The request was sent, and no complete answer came in time",
	Means:  "TCP and TLS are fine and the request was written, but the answer did not come within the target's timeout. The backend may be slow: API Gateway waits up to 29 seconds for it by default. Or something between drops what follows the handshake.",
	Fix:    "Raise the target's timeout above the API's usual latency (CloudWatch: Latency and IntegrationLatency), and see whether an answer comes then: curl -v -m 35 URL. If it is a 504 after 29 s, the backend is the cause.",
	Source: guide + "limits (integration timeout)",
	Match:  ended(probes.Certain, probes.Timeout),
}, {
	ID:     "answer-cut",
	Title:  "The connection was cut before the answer was complete",
	Means:  "TCP and TLS are fine and the request was sent, but then the connection was reset or closed before a complete answer had come. Something that ends or inspects connections does that: a proxy, a firewall or a load balancer without a working target.",
	Fix:    "Compare with the endpoint's own addresses and name: curl -v --resolve NAME:443:ENDPOINT_ADDRESS URL. Look at what is in the path (the trace), and at a load balancer's targets: aws elbv2 describe-target-health.",
	Source: "RFC 9112, section 8 (incomplete messages)",
	Match:  answerCut,
}, {
	ID:     "status-unexpected",
	Title:  "The answer has a status that the target does not expect",
	Means:  "An answer came, its status is not among those that expect.status names (any 2xx, if it names none), and the answer is none whose cause is known.",
	Fix:    "Call it by hand and read the answer: curl -v URL. If the status is fine, list it under expect.status; if it is a customized gateway response, teach the agent under recognize what it means.",
	Source: "The target's own configuration (expect.status)",
	Match:  means("status-unexpected"),
	Notes:  notes(told(excerpt), Logs),
}, {
	ID:     "body-unexpected",
	Title:  "The answer's body is not what the target expects",
	Means:  "The status is fine, and the body is not: it does not match expect.body, or does not hold the values of expect.json. One that came compressed, which the agent does not ask for, may match once decoded.",
	Fix:    "The notes say what differs. Look at the backend, which answered, or adjust expect.body and expect.json.",
	Source: "The target's own configuration (expect.body, expect.json)",
	Match:  means("body-unexpected"),
	Notes: notes(told(func(_ probes.Evidence, o probes.Observation, _ *Answer) string {
		if o.Err == nil {
			return ""
		}
		return o.Err.Error()
	}), Logs),
}}

// answerCut: a cut that is no verdict on the client certificate. Those are the
// business of package handshake.
func answerCut(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
	sure, because := ended(probes.Likely, probes.Reset, probes.Closed, probes.Refused, probes.Unreachable, probes.Prohibited)(seen)
	_, rejected := ended(probes.Likely, probes.Rejected)(seen)
	for _, o := range rejected {
		if !Of(o).CertAsked {
			sure, because = probes.Likely, append(because, o)
		}
	}
	return sure, because
}

func credentialsMissing(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
	return faults(seen, func(o probes.Observation) bool { a := Of(o); return a != nil && a.Failed != nil })
}

// faults grades observations that are the agent's own trouble. Without file
// descriptors nothing can be said of a file or of a source of credentials.
func faults(seen probes.Evidence, keep func(probes.Observation) bool) (probes.Certainty, []probes.Observation) {
	because := probes.Filter(seen.Ended(name, probes.Fault), func(o probes.Observation) bool {
		return keep(o) && !probes.Exhausted(o.Err)
	})
	if because == nil {
		return probes.No, nil
	}
	return probes.Certain, because
}

func signedAs(_ probes.Evidence, _ probes.Observation, a *Answer) string {
	if a.Signed == nil {
		return ""
	}
	return fmt.Sprintf("signed with the access key that ends in %s, for %s, host %s", a.Signed.KeyID, a.Signed.Scope, a.Signed.Host)
}

func clock(_ probes.Evidence, _ probes.Observation, a *Answer) string {
	by, known := a.Behind()
	if !known {
		return ""
	}
	direction := "behind"
	if by < 0 {
		by, direction = -by, "ahead of"
	}
	return fmt.Sprintf("this clock is %v %s the server's, by its Date header", by.Round(time.Second), direction)
}

// Excerpts shows how the first answers begin, and which server they say sent
// them; of what is no answer, why it is none.
func Excerpts(seen probes.Evidence, because []probes.Observation) []string {
	return told(func(_ probes.Evidence, o probes.Observation, a *Answer) string {
		if a.Status == 0 && o.Err != nil {
			return o.Err.Error()
		}
		return excerpt(seen, o, a)
	})(seen, because)
}

func excerpt(_ probes.Evidence, _ probes.Observation, a *Answer) string {
	text := a.Message
	if text == "" {
		text = a.Body
	}
	if text == "" && a.Server == "" {
		return ""
	}
	return fmt.Sprintf("status %d, Server %q: %s", a.Status, a.Server, text)
}
