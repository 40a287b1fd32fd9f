package artifacts

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// A controlPlane is a real API server over a real etcd, on loopback.
type controlPlane struct {
	url, token string
	client     *http.Client
}

// newControlPlane starts the programs in the folder that the variable
// CI_APISERVER names; .ci/artifacts/run builds them.
func newControlPlane(t testing.TB) *controlPlane {
	t.Helper()
	bin := os.Getenv("CI_APISERVER")
	if bin == "" {
		t.Skip("SKIP: CI_APISERVER names no folder with kube-apiserver and etcd: .ci/artifacts/run builds them")
	}
	folder := t.TempDir()
	etcd, peer, port := free(t), free(t), free(t)
	started(t, filepath.Join(bin, "etcd"), "--data-dir", folder+"/etcd", "--log-level", "error",
		"--listen-client-urls", "http://"+etcd, "--advertise-client-urls", "http://"+etcd,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer)
	signing(t, folder+"/key.pem")
	c := &controlPlane{url: "https://" + port, token: rand.Text()}
	write(t, folder+"/tokens", c.token+`,test,test,"system:masters"`+"\n")
	_, number, _ := net.SplitHostPort(port)
	started(t, filepath.Join(bin, "kube-apiserver"), "--etcd-servers", "http://"+etcd, "--cert-dir", folder, "--bind-address", "127.0.0.1",
		"--advertise-address", "127.0.0.1", "--secure-port", number, "--service-cluster-ip-range", "10.96.0.0/16", "--token-auth-file", folder+"/tokens",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", folder+"/key.pem",
		"--service-account-signing-key-file", folder+"/key.pem", "--authorization-mode", "RBAC", "--endpoint-reconciler-type", "none")
	c.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // its own certificate, on loopback
	t.Cleanup(c.client.CloseIdleConnections)
	for range 600 {
		if status, _ := c.call(t, http.MethodGet, "/readyz", "", nil); status == http.StatusOK {
			return c
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the API server is not ready after a minute")
	return nil
}

// free returns an address on loopback that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// started runs a program until the test ends.
func started(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", name, tail(log.String()))
		}
	})
}

func tail(text string) string { return text[max(0, len(text)-2000):] }

// signing writes a key for service accounts' tokens.
func signing(t testing.TB, path string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
}

// call sends a request and returns the answer's status and body; 0 if there was
// none.
func (c *controlPlane) call(t testing.TB, method, path, contentType string, body []byte) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", contentType)
	response, err := c.client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// collections are where objects are, by kind.
var collections = map[string]string{
	"ConfigMap": "/api/v1/%sconfigmaps", "Pod": "/api/v1/%spods", "Service": "/api/v1/%sservices", "ServiceAccount": "/api/v1/%sserviceaccounts",
	"DaemonSet": "/apis/apps/v1/%sdaemonsets", "Deployment": "/apis/apps/v1/%sdeployments", "StatefulSet": "/apis/apps/v1/%sstatefulsets",
	"NetworkPolicy": "/apis/networking.k8s.io/v1/%snetworkpolicies", "PodDisruptionBudget": "/apis/policy/v1/%spoddisruptionbudgets",
	"PodMonitor": "/apis/monitoring.coreos.com/v1/%spodmonitors", "ServiceMonitor": "/apis/monitoring.coreos.com/v1/%sservicemonitors",
	"PrometheusRule": "/apis/monitoring.coreos.com/v1/%sprometheusrules",
	"Namespace":      "/api/v1/%snamespaces", "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/%scustomresourcedefinitions",
}

// apply applies manifests server-side, validated strictly.
func (c *controlPlane) apply(t testing.TB, namespace, text string) {
	t.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var about struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(doc), &about); err != nil {
			t.Fatal(err)
		}
		if about.Kind == "" {
			continue
		}
		path := fmt.Sprintf(collections[about.Kind], in(namespace)) + "/" + about.Metadata.Name + "?fieldManager=test&fieldValidation=Strict&force=true"
		if status, body := c.call(t, http.MethodPatch, path, "application/apply-patch+yaml", []byte(doc)); status != http.StatusOK && status != http.StatusCreated {
			t.Errorf("%s %s: %d %s", about.Kind, about.Metadata.Name, status, body)
		}
	}
}

func in(namespace string) string {
	if namespace == "" {
		return ""
	}
	return "namespaces/" + namespace + "/"
}

// namespace makes a namespace that enforces Pod Security.
func (c *controlPlane) namespace(t testing.TB, name string) {
	t.Helper()
	c.apply(t, "", `{apiVersion: v1, kind: Namespace, metadata: {name: `+name+`, labels: {pod-security.kubernetes.io/enforce: restricted}}}`)
	c.apply(t, name, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}`)
	c.apply(t, name, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: orders}}`) // which some values bring
}

// admits creates, and does not keep, a pod of each workload, as the workload's
// controller would. It returns what the admission said of those it refused.
func (c *controlPlane) admits(t testing.TB, namespace string, objects []object) (refused []string) {
	t.Helper()
	metas, specs := pods(objects)
	for i := range specs {
		p := corev1.Pod{ObjectMeta: *metas[i], Spec: *specs[i]}
		p.APIVersion, p.Kind, p.Name = "v1", "Pod", fmt.Sprintf("pod-%d", i)
		body, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf(collections["Pod"], in(namespace)) + "?dryRun=All&fieldValidation=Strict"
		if status, answer := c.call(t, http.MethodPost, path, "application/json", body); status != http.StatusCreated {
			refused = append(refused, answer)
		}
	}
	return refused
}

// definitions lets the API server take the Prometheus Operator's objects; their
// fields are checked against the operator's own types elsewhere.
func (c *controlPlane) definitions(t testing.TB) {
	t.Helper()
	for kind, plural := range map[string]string{"PodMonitor": "podmonitors", "ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"} {
		c.apply(t, "", fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: %s, plural: %s, singular: %s}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`, plural, kind, plural, strings.ToLower(kind)))
	}
	for range 100 {
		if status, _ := c.call(t, http.MethodGet, "/apis/monitoring.coreos.com/v1/prometheusrules", "", nil); status == http.StatusOK {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the definitions are not served")
}

// A real control plane takes everything that is rendered, and its admission
// lets the pods into a namespace that enforces Pod Security "restricted".
func TestControlPlane(t *testing.T) {
	tool(t, "helm")
	c := newControlPlane(t)
	c.definitions(t)
	for _, f := range valuesFiles(t) {
		name := strings.TrimSuffix(filepath.Base(f), "-values.yaml")
		t.Run(name, func(t *testing.T) {
			c.namespace(t, name)
			text, err := template(t, "--values", f, "--namespace", name, "--no-hooks")
			if err != nil {
				t.Fatal(text)
			}
			c.apply(t, name, text)
			refused := c.admits(t, name, decode(t, text))
			switch {
			case name == "daemonset":
				if len(refused) != 1 || !strings.Contains(refused[0], `violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)`) {
					t.Errorf("hostNetwork is let in: %v", refused)
				}
			case len(refused) > 0:
				t.Errorf("refused: %v", refused)
			}
		})
	}
	for _, folder := range []string{"agent", "example"} {
		t.Run("kustomize "+folder, func(t *testing.T) {
			c.namespace(t, "kustomize-"+folder)
			c.apply(t, "kustomize-"+folder, kustomizedText(t, folder))
			if refused := c.admits(t, "kustomize-"+folder, kustomized(t, folder)); refused != nil {
				t.Errorf("refused: %v", refused)
			}
		})
	}
	t.Run("helm install", func(t *testing.T) { c.installs(t) })
}

// installs installs, upgrades and removes the chart with helm.
func (c *controlPlane) installs(t *testing.T) {
	c.namespace(t, "install")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	write(t, kubeconfig, fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test, namespace: install}}]
clusters: [{name: test, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: %q}}]
`, c.url, c.token))
	helm := func(args ...string) string { return must(t, root, "helm", append(args, "--kubeconfig", kubeconfig)...) }
	out := helm("install", "orders", chart, "--values", at(chart+"/ci/deployment-values.yaml"))
	if !strings.Contains(out, "kubectl --namespace install port-forward deployment/orders-vpcprobe 9643") {
		t.Errorf("the notes:\n%s", out)
	}
	helm("upgrade", "orders", chart, "--values", at(chart+"/ci/statefulset-values.yaml"))
	if _, text := c.call(t, http.MethodGet, fmt.Sprintf(collections["StatefulSet"], in("install")), "", nil); !strings.Contains(text, `"name":"orders-vpcprobe"`) {
		t.Errorf("after the upgrade:\n%s", text)
	}
	helm("uninstall", "orders")
}
