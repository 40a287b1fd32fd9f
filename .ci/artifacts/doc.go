// Package artifacts holds the checks of everything that vpcprobe is deployed
// with: the image, the chart, the manifests, the packages, the rules and the
// dashboard. Each is read by the tool or the types that read it in production,
// and each configuration in it by the agent's own loader.
//
// It is a module of its own, so that none of these tools is a dependency of the
// product. A check whose tool is missing says SKIP with the reason; none needs a
// network.
package artifacts
