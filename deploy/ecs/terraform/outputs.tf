output "task_role_arn" {
  description = "The role to let in by the endpoint's policy and the API's resource policy."
  value       = aws_iam_role.task.arn
}

output "services" {
  description = "The services by zone."
  value       = { for zone, service in aws_ecs_service.zone : zone => service.name }
}
