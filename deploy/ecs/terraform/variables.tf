variable "name" {
  description = "The name of everything the module makes."
  type        = string
  default     = "vpcprobe"
}

variable "cluster" {
  description = "The ECS cluster's ARN or name."
  type        = string
}

variable "subnets" {
  description = "The application's subnets by zone, such as {eu-west-1a = \"subnet-0a\"}: one service runs in each, so that no zone goes unwatched."
  type        = map(string)
}

variable "security_groups" {
  description = "The application's security groups. With others, the agent would tell how others fare."
  type        = list(string)
}

variable "config" {
  description = "The agent's configuration (docs/configuration.md), such as file(\"vpcprobe.yaml\"). It holds no secrets."
  type        = string
}

variable "invoke_arns" {
  description = "The probed methods, such as arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/GET/health; what sign needs."
  type        = list(string)
  default     = []
}

variable "image" {
  description = "The image. In a VPC without a way out, a copy in ECR; then give repository_arn, too."
  type        = string
  default     = "ghcr.io/vpcprobe/vpcprobe:0.1.0"
}

variable "repository_arn" {
  description = "The image's repository, such as arn:aws:ecr:REGION:ACCOUNT:repository/vpcprobe, where the image is in ECR."
  type        = string
  default     = ""
}

variable "architecture" {
  description = "ARM64 or X86_64."
  type        = string
  default     = "ARM64"
  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "architecture is ARM64 or X86_64."
  }
}

variable "log_retention_days" {
  description = "How long to keep the log."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags of everything the module makes."
  type        = map(string)
  default     = {}
}
