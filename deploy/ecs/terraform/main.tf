# One agent in each zone, as Fargate services in the subnets and with the security groups of the application whose path
# it watches.

data "aws_caller_identity" "this" {}
data "aws_region" "this" {}

locals {
  # ECR asks who pulls; other registries do not ask AWS.
  repositories = var.repository_arn == "" ? [] : [var.repository_arn]

  # The container is defined once, in task-definition.json.
  definition = jsondecode(file("${path.module}/../task-definition.json"))
  container = merge(local.definition.containerDefinitions[0], {
    image = var.image
    secrets = [{
      name      = "VPCPROBE_CONFIG"
      valueFrom = aws_ssm_parameter.config.arn
    }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = data.aws_region.this.name
        awslogs-stream-prefix = var.name
      }
    }
  })
}

resource "aws_ssm_parameter" "config" {
  name        = "/${var.name}/config"
  type        = "String"
  description = "The agent's configuration. It holds no secrets."
  value       = var.config
  tags        = var.tags
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/${var.name}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

# What ECS does before the agent runs.
data "aws_iam_policy_document" "start" {
  statement {
    sid       = "ReadThisParameterOnly"
    actions   = ["ssm:GetParameters"]
    resources = [aws_ssm_parameter.config.arn]
  }
  statement {
    sid       = "WriteThisLogGroupOnly"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }
  dynamic "statement" {
    for_each = local.repositories
    content {
      sid       = "LogInToRegistries"
      actions   = ["ecr:GetAuthorizationToken"]
      resources = ["*"] # the action knows no resources
    }
  }
  dynamic "statement" {
    for_each = local.repositories
    content {
      sid       = "PullThisImageOnly"
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role" "execution" {
  name               = "${var.name}-execution"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "start" {
  name   = "start"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.start.json
}

# What the agent does.
data "aws_iam_policy_document" "probe" {
  statement {
    sid       = "ProbeTheseMethodsOnly"
    actions   = ["execute-api:Invoke"]
    resources = var.invoke_arns
  }
}

resource "aws_iam_role" "task" {
  name               = "${var.name}-task"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "probe" {
  count  = length(var.invoke_arns) > 0 ? 1 : 0
  name   = "probe"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.probe.json
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = local.definition.requiresCompatibilities
  network_mode             = local.definition.networkMode
  cpu                      = local.definition.cpu
  memory                   = local.definition.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode([local.container])
  tags                     = var.tags

  runtime_platform {
    cpu_architecture        = var.architecture
    operating_system_family = "LINUX"
  }
}

resource "aws_ecs_service" "zone" {
  for_each        = var.subnets
  name            = "${var.name}-${each.key}"
  cluster         = var.cluster
  task_definition = aws_ecs_task_definition.this.arn
  launch_type     = "FARGATE"
  desired_count   = 1
  propagate_tags  = "SERVICE"
  tags            = var.tags

  network_configuration {
    subnets          = [each.value]
    security_groups  = var.security_groups
    assign_public_ip = false
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # The roles' names are known before the roles may do anything: tasks that start in between fail.
  depends_on = [aws_iam_role_policy.start, aws_iam_role_policy.probe]
}
