output "task_role_arn" {
  description = "The role to let in by the endpoint's policy and the API's resource policy."
  value       = aws_iam_role.task.arn
}

output "execution_role_arn" {
  description = "The role that ECS starts the tasks with: to be let in by the repository's policy, where the image is another account's."
  value       = aws_iam_role.execution.arn
}

output "services" {
  description = "The services by zone."
  value       = { for zone, service in aws_ecs_service.zone : zone => service.name }
}
